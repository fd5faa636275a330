package arcgis

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestEveryShapeOfANo(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		code   int
		text   string
	}{
		"the usual error":                 {200, `{"error":{"code":400,"messageCode":"CONT_0001","message":"Item does not exist or is inaccessible.","details":[]}}`, 400, "Item does not exist or is inaccessible. (code 400)"},
		"details say more":                {200, `{"error":{"code":400,"message":"Unable to generate token.","details":["Invalid username or password."]}}`, 400, "Unable to generate token. Invalid username or password. (code 400)"},
		"details repeat":                  {200, `{"error":{"code":499,"messageCode":"GWM_0003","message":"Token Required","details":["Token Required"]}}`, 499, "Token Required (code 499)"},
		"details are null":                {200, `{"error":{"code":403,"message":"No.","details":null}}`, 403, "No. (code 403)"},
		"details are missing":             {200, `{"error":{"code":403,"message":"No."}}`, 403, "No. (code 403)"},
		"details are a string":            {200, `{"error":{"code":403,"details":"why"}}`, 403, "why (code 403)"},
		"details are odd":                 {200, `{"error":{"code":403,"details":{"a":1}}}`, 403, "the portal refuses (code 403)"},
		"the code is missing":             {200, `{"error":{"message":"No.","details":[]}}`, 0, "No. (no code)"},
		"the code is a string":            {200, `{"error":{"code":"498","message":"Invalid token."}}`, 498, "Invalid token. (code 498)"},
		"the code is no number":           {200, `{"error":{"code":"E_NO","message":"No."}}`, 0, "No. (no code)"},
		"OAuth inside":                    {200, `{"error":{"code":400,"error":"invalid_request","error_description":"Invalid client_secret","message":"Invalid client_secret","details":[]}}`, 400, "Invalid client_secret invalid_request (code 400)"},
		"OAuth as the standard has it":    {400, `{"error":"invalid_client","error_description":"Invalid client_id"}`, 400, "Invalid client_id invalid_client (code 400)"},
		"the billing shape":               {200, `{"code":403,"message":"Out of credits","status":"failure"}`, 403, "Out of credits (code 403)"},
		"the billing shape comes first":   {200, `{"code":402,"message":"Pay","status":"failure","error":{"code":498}}`, 402, "Pay (code 402)"},
		"the job shape":                   {200, `{"status":"failed","statusMessage":"It broke"}`, 0, "It broke (no code)"},
		"the server administration shape": {200, `{"status":"error","code":498,"messages":["Invalid token."]}`, 498, "Invalid token. (code 498)"},
		"success is false":                {200, `{"success":false}`, 0, "the portal says only that it was no success (no code)"},
		"success is false, with an error": {200, `{"success":false,"error":{"code":400,"message":"No."}}`, 400, "No. (code 400)"},
		"a true 4xx with an error":        {403, `{"error":{"message":"Forbidden by policy","details":[]}}`, 403, "Forbidden by policy (code 403)"},
		"a true 4xx without an error":     {404, `{"hello":"there"}`, 404, "the portal refuses (code 404)"},
		"an error without anything":       {200, `{"error":{}}`, 0, "the portal refuses (code 0)"},
		"an error that is a number":       {200, `{"error":7}`, 0, "the portal refuses (code 0)"},
		"a byte order mark":               {200, "\xef\xbb\xbf" + `{"error":{"code":498}}`, 498, "the portal refuses (code 498)"},
		"lines and long words":            {200, `{"error":{"code":400,"message":"a\nb\u0000c ` + strings.Repeat("x", 65) + `"}}`, 400, "a b c […] (code 400)"},
	} {
		t.Run(name, func(t *testing.T) {
			var no *refusal
			err := decodeAnswer(test.status, "application/json", []byte(test.body), nil)
			if !errors.As(err, &no) {
				t.Fatalf("want a refusal, got %v", err)
			}
			if no.code != test.code || no.Error() != test.text {
				t.Errorf("got code %d and %q", no.code, no)
			}
		})
	}
}

func TestYesIsNotTakenForANo(t *testing.T) {
	for _, body := range []string{
		`{}`, `{"success":true}`, `{"error":null}`, `{"status":"success"}`, `{"status":200,"code":"x","message":["a"]}`, `{"error":false}`,
	} {
		if err := decodeAnswer(200, "", []byte(body), nil); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestGarbageIsNamedAndNeverQuoted(t *testing.T) {
	for body, want := range map[string]string{
		"":                                 "the portal sent an empty answer",
		" \n":                              "the portal sent an empty answer",
		"<html>secret</html>":              "the portal sent a web page instead of JSON",
		`{"access_token":"secr`:            "the portal sent JSON that is broken, cut or no object",
		`["secret"]`:                       "the portal sent JSON that is broken, cut or no object",
		"secret":                           "the portal sent an answer that is not JSON",
		`{"access_token":"secret"} {`:      "the portal sent JSON that is broken, cut or no object",
		`{"access_token":["secret"]}`:      "the portal sent JSON of another shape than expected",
		strings.Repeat(" ", maxBody) + "{": "the portal sent an answer of more than 8 MiB",
	} {
		var out struct {
			AccessToken string `json:"access_token"`
		}
		err := decodeAnswer(200, "application/json", []byte(body), &out)
		if err == nil || err.Error() != want {
			t.Errorf("%.40q: got %v, want %s", body, err, want)
		}
	}
}

func TestThrottleAndDenialBothSay403(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   bool
	}{
		{403, "", true},
		{403, "<html>Forbidden</html>", true},
		{429, "", true},
		{429, `{"error":{"code":498}}`, true},
		{200, `{"error":{"code":429,"message":"x"}}`, true},
		{200, `{"error":{"code":403,"message":"Forbidden"}}`, true},
		{403, `{"error":{"code":403,"message":"Too many requests. Please retry after 60 seconds."}}`, true},
		{403, `{"error":{"code":403,"message":""}}`, true},
		{200, `{"error":{"code":403,"messageCode":"GWM_0003","message":"You do not have permissions to access this resource or perform this operation."}}`, false},
		{403, `{"error":{"code":403,"message":"You do not have permissions to access this resource or perform this operation."}}`, false},
		{200, `{"error":{"code":499,"messageCode":"GWM_0003","message":"Token Required"}}`, false},
		{200, "<html>", false},
		{401, "", false},
	} {
		if got := isThrottle(test.status, decodeAnswer(test.status, "", []byte(test.body), nil)); got != test.want {
			t.Errorf("%d %s: a throttle: %t", test.status, test.body, got)
		}
	}
	if n := secondsIn("Too many requests. Please retry after 60 seconds."); n != 60 {
		t.Errorf("60 seconds are read as %d", n)
	}
}

func TestMatchingRefererIsOneThatABrowserWouldSend(t *testing.T) {
	for _, test := range []struct {
		referrers []string
		want      string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"*"}, "https://keyturn.example/"},
		{[]string{"*.example.com"}, "https://keyturn.example.com/"},
		{[]string{"https://*.example.com/*"}, "https://keyturn.example.com/keyturn"},
		{[]string{"https://*.example.com", "http://app.example.com"}, "http://app.example.com/"},
		{[]string{"example.com"}, "https://example.com/"},
		{[]string{"https://example.com/maps/index.html"}, "https://example.com/maps/index.html"},
		{[]string{"http://localhost:*"}, "http://localhost:443/"},
		{[]string{"http://[::1]:*"}, "http://[::1]:443/"},
		{[]string{"http*://example.com:8080"}, "https://example.com:8080/"},
		{[]string{"bad\r\nheader: x", "example.com"}, "https://example.com/"},
	} {
		if diff := cmp.Diff(test.want, matching(test.referrers)); diff != "" {
			t.Errorf("%q: %s", test.referrers, diff)
		}
	}
}

func TestKeyIsToldFromAnAppToken(t *testing.T) {
	long := "AAPT" + strings.Repeat("x", 240) + ".."
	for token, want := range map[string]bool{
		long + "AT1_abcdefgh": true, long + "AT2_abcdefgh": false, long: false, "": false, "AT1_abcdefgh": false,
		long + "AT1_abcdefg ": false, long + " AT1_abcdefgh": false, "short.lived.app-token": false,
	} {
		if isKey(token, 1) != want {
			t.Errorf("%q is a key: %t", token, !want)
		}
	}
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"error":{"code":400,"messageCode":"CONT_0001","message":"Item does not exist or is inaccessible.","details":[]}}`,
		`{"error":{"code":498,"message":"Invalid token.","details":null}}`, `{"error":{"message":"x","details":["y"]}}`,
		`{"code":403,"message":"x","status":"failure"}`, `{"status":"failed","statusMessage":"x"}`,
		`{"status":"error","code":498,"messages":["x"]}`, `{"success":false}`, `{"error":"invalid_client","error_description":"x"}`,
		`{"access_token":"AAPT.AT1_abcdefgh","expires_in":31362539}`, `{"token":"t","expires":1779110552000,"ssl":true}`,
		`{"itemId":"i","client_id":"c","client_secret":"s","apiToken1Active":true}`, `{"appInfo":{"itemId":"i","expirationDate":-1}}`,
		``, `<html>`, `{"access_token":"AA`, `[]`, `null`, "{\"access_token\":\x00\xff\xfe]]", `{"error":{"error":{"error":1}}}`,
	} {
		f.Add(200, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		var out struct {
			registered
			details
			self
			AccessToken string  `json:"access_token"`
			ExpiresIn   float64 `json:"expires_in"`
		}
		err := decodeAnswer(status, "", []byte(body), &out)
		var no *refusal
		var g garbage
		switch {
		case err == nil:
			if !json.Valid([]byte(strings.TrimPrefix(strings.TrimSpace(body), "\xef\xbb\xbf"))) {
				t.Error("a yes that is no JSON")
			}
		case errors.As(err, &no):
			if no.code == 0 && status >= 400 {
				t.Error("a status that is lost")
			}
			text := cut(scrub(request{}, no.message))
			if len([]rune(text)) > 201 || strings.ContainsAny(text, "\r\n\x00\x1b") || !utf8.ValidString(text) {
				t.Errorf("a text not fit to show: %q", text)
			}
		case errors.As(err, &g):
			if len(g) > 60 {
				t.Errorf("garbage is quoted: %s", g)
			}
		default:
			t.Errorf("an unclassified error: %v", err)
		}
		_ = date(out.Expires1)
		_ = isKey(out.AccessToken, 1)
	})
}
