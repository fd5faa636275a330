package arcgis

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Whatever comes back instead of a yes, its fault has a class that promises no
// more than is known, and a text that is short, printable and without secrets.
func FuzzDecodeFailure(f *testing.F) {
	const token, password, clientSecret = "AAPTk-the-token", "the pass  word", "0123456789abcdef0123456789abcdef"
	for _, seed := range []struct {
		status     int
		retryAfter string
		body       string
	}{
		{200, "", `{"error":{"code":400,"messageCode":"CONT_0001","message":"Item does not exist or is inaccessible.","details":[]}}`},
		{200, "", `{"error":{"code":400,"messageCode":"COM_0018","message":"User does not exist or is inaccessible."}}`},
		{200, "", `{"error":{"code":498,"message":"Invalid token.","details":null}}`},
		{200, "", `{"error":{"code":499,"messageCode":"GWM_0003","message":"Token Required","details":["Token Required"]}}`},
		{200, "", `{"error":{"code":403,"messageCode":"GWM_0003","message":"You do not have permissions to access this resource or perform this operation."}}`},
		{200, "", `{"error":{"code":400,"error":"invalid_request","error_description":"Invalid client_secret","message":"Invalid client_secret","details":[]}}`},
		{200, "", `{"error":{"message":"` + token + `","details":["` + password + `"]}}`},
		{200, "", `{"error":{"code":"400","message":"bad ` + clientSecret + `"}}`},
		{200, "", `{"code":403,"message":"x","status":"failure"}`},
		{200, "", `{"status":"failed","statusMessage":"x"}`},
		{200, "", `{"status":"error","code":498,"messages":["x"]}`},
		{200, "", `{"success":false}`},
		{400, "", `{"error":"invalid_client","error_description":"x"}`},
		{403, "60", ``}, {429, "Wed, 21 Oct 2026 07:28:00 GMT", `{"error":{"code":498}}`}, {403, "-5", `{"error":{"code":403,"message":"Retry after 60 seconds"}}`},
		{502, "99999999999999999999", `<html>`}, {302, "", ``}, {328, "0", "//\xc7"}, {302, "", "https://user:password@elsewhere.example/?token=" + token}, {401, "", `<html>`}, {200, "", `{"access_token":"AA`}, {200, "", `[]`},
		{200, "", "{\"access_token\":\x00\xff\xfe]]"}, {500, "", `{"error":{"error":{"error":1}}}`}, {200, "", `{"error":{"code":1e400}}`},
	} {
		f.Add(seed.status, seed.retryAfter, seed.body)
	}
	portal, err := New(Config{Name: "example", URL: "https://example.com/sharing/rest", Username: "u",
		APIKey: func() (credential.Secret, error) { return credential.NewSecret(token), nil },
		Now:    func() time.Time { return time.Unix(1779110552, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, after, body string) {
		answer := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}, "Location": {body}}}
		for _, changes := range []bool{false, true} {
			r := request{op: "ask", changes: changes, token: credential.NewSecret(token),
				form: url.Values{"password": {password}, "client_secret": {clientSecret}}}
			decoded := decodeAnswer(status, "application/json", []byte(body), nil)
			err := portal.judge(r, answer, decoded)
			if decoded == nil {
				if err != nil {
					t.Fatalf("a yes is a failure: %v", err)
				}
				continue
			}
			var fault *credential.Fault
			if !errors.As(err, &fault) {
				t.Fatalf("unclassified: %v", err)
			}
			switch fault.Class {
			case credential.ClassRetryable, credential.ClassDenied, credential.ClassPermanent:
			case credential.ClassNotFound:
				if codeOf(err) != 400 {
					t.Errorf("not there, by code %d", codeOf(err))
				}
			case credential.ClassUnknown:
				if !changes {
					t.Error("a read with an unknown outcome")
				}
			default:
				t.Errorf("class %q", fault.Class)
			}
			var junk garbage
			if errors.As(decoded, &junk) && changes && status < 300 && fault.Class != credential.ClassUnknown {
				t.Errorf("%s, and yet the class is %s", junk, fault.Class)
			}
			if fault.RetryAfter < 0 || fault.RetryAfter > time.Hour || fault.Silent {
				t.Errorf("retry after %s, silent %t", fault.RetryAfter, fault.Silent)
			}
			text := fault.Error()
			if len([]rune(text)) > 600 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("a text not fit to show: %q", text)
			}
			for _, secret := range []string{token, "the pass word", clientSecret} {
				if strings.Contains(text, secret) {
					t.Errorf("%q stands in %q", secret, text)
				}
			}
		}
	})
}
