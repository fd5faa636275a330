package arcgis_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
)

// noes are all the shapes in which a portal says no with HTTP 200, and what they
// mean for a call that reads and for one that changes.
var noes = map[string]struct {
	body         string
	read, change credential.Class
}{
	"498":                        {`{"error":{"code":498,"message":"Invalid token.","details":[]}}`, credential.ClassDenied, credential.ClassDenied},
	"499":                        {`{"error":{"code":499,"messageCode":"GWM_0003","message":"Token Required","details":["Token Required"]}}`, credential.ClassDenied, credential.ClassDenied},
	"403 with the same code":     {`{"error":{"code":403,"messageCode":"GWM_0003","message":"You do not have permissions to access this resource or perform this operation.","details":null}}`, credential.ClassDenied, credential.ClassDenied},
	"400":                        {`{"error":{"code":400,"message":"'type' and 'title' property required."}}`, credential.ClassPermanent, credential.ClassPermanent},
	"400 about another":          {`{"error":{"code":400,"messageCode":"GWM_0007","message":"Invalid request","details":["Invalid client_id"]}}`, credential.ClassPermanent, credential.ClassPermanent},
	"400 about the user":         {`{"error":{"code":400,"messageCode":"COM_0018","message":"User does not exist or is inaccessible.","details":[]}}`, credential.ClassPermanent, credential.ClassPermanent},
	"without a code":             {`{"error":{"message":"It did not work.","details":[]}}`, credential.ClassRetryable, credential.ClassUnknown},
	"without anything":           {`{"error":{}}`, credential.ClassRetryable, credential.ClassUnknown},
	"500":                        {`{"error":{"code":500,"message":"Internal error"}}`, credential.ClassRetryable, credential.ClassUnknown},
	"504":                        {`{"error":{"code":504,"message":"Your request has timed out."}}`, credential.ClassRetryable, credential.ClassUnknown},
	"408":                        {`{"error":{"code":408,"message":"Your request has timed out."}}`, credential.ClassRetryable, credential.ClassUnknown},
	"OAuth":                      {`{"error":{"code":400,"error":"invalid_request","error_description":"Invalid client_secret","message":"Invalid client_secret","details":[]}}`, credential.ClassPermanent, credential.ClassPermanent},
	"OAuth, the expired":         {`{"error":{"code":498,"error":"invalid_request","error_description":"Invalid refresh_token"}}`, credential.ClassDenied, credential.ClassDenied},
	"billing":                    {`{"code":403,"message":"You do not have enough credits.","status":"failure"}`, credential.ClassDenied, credential.ClassDenied},
	"job":                        {`{"status":"failed","statusMessage":"It broke"}`, credential.ClassRetryable, credential.ClassUnknown},
	"job, the other word":        {`{"status":"failure","statusMessage":"It broke"}`, credential.ClassRetryable, credential.ClassUnknown},
	"server administration":      {`{"status":"error","code":498,"messages":["Invalid token."]}`, credential.ClassDenied, credential.ClassDenied},
	"success is false":           {`{"success":false}`, credential.ClassRetryable, credential.ClassUnknown},
	"success is false, and why":  {`{"success":false,"error":{"code":400,"message":"No."}}`, credential.ClassPermanent, credential.ClassPermanent},
	"throttled":                  {`{"error":{"code":429,"message":"Too many requests."}}`, credential.ClassRetryable, credential.ClassRetryable},
	"nothing at all":             {``, credential.ClassRetryable, credential.ClassUnknown},
	"a page":                     {`<html><body>Sign in</body></html>`, credential.ClassRetryable, credential.ClassUnknown},
	"an answer about the beyond": {`["no"]`, credential.ClassRetryable, credential.ClassUnknown},
}

func TestErrorsInHTTP200BodiesInEachShape(t *testing.T) {
	for name, test := range noes {
		t.Run(name, func(t *testing.T) {
			p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !containsAny(r.URL.Path, "/portals/self", "/update", "/oauth2/token") {
					return false
				}
				_, _ = w.Write([]byte(test.body))
				return true
			})
			fault(t, p.Check(t.Context()), test.read)
			_, err := p.Issue(t.Context(), theSeat, in(month))
			fault(t, err, test.change)
		})
	}
}

// The same for generate, which is not authenticated as the manager.
func TestErrorsOfGenerateInEachShape(t *testing.T) {
	for name, test := range noes {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int32
			p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/oauth2/token") {
					return false
				}
				sent.Add(1)
				_, _ = w.Write([]byte(test.body))
				return true
			})
			_, err := p.Issue(t.Context(), theSeat, in(month))
			f := fault(t, err, test.change)
			if sent.Load() != 1 || f.Silent {
				t.Errorf("sent %d times, silent: %t", sent.Load(), f.Silent)
			}
		})
	}
}

func TestHugeAnswerToGenerateIsUnknown(t *testing.T) {
	p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/oauth2/token") {
			return false
		}
		_, _ = w.Write([]byte(`{"access_token":"` + strings.Repeat("A", 9<<20) + `AT1_abcdefgh","expires_in":2592000}`))
		return true
	})
	_, err := p.Issue(t.Context(), theSeat, in(month))
	fault(t, err, credential.ClassUnknown, "more than 8 MiB")
}

var theSeat = credential.SeatID{Item: "i", Slot: 1}

const anItem, aRegistration = `{"id":"i","owner":"` + user + `"}`, `{"itemId":"i","client_id":"c","client_secret":"s3cr3t-of-the-app","apiToken1Active":true}`

// portalOfOneItem answers for item i; instead of it may take a call over.
func portalOfOneItem(t *testing.T, instead func(http.ResponseWriter, *http.Request) bool) *arcgis.Portal {
	t.Helper()
	return fake(t, func(w http.ResponseWriter, r *http.Request) {
		if instead != nil && instead(w, r) {
			return
		}
		text := anItem
		switch {
		case strings.HasSuffix(r.URL.Path, "/registeredAppInfo"):
			text = aRegistration
		case strings.HasSuffix(r.URL.Path, "/oauth2/token"):
			text = `{"access_token":"` + strings.Repeat("a", 180) + `AT1_abcdefgh","expires_in":2592000}`
		case strings.HasSuffix(r.URL.Path, "/update"), strings.HasSuffix(r.URL.Path, "/revokeToken"):
			text = `{"success":true}`
		}
		_, _ = w.Write([]byte(text))
	})
}

func TestRevokeThatOnlySaysSuccessIsAnError(t *testing.T) {
	var revokes atomic.Int32
	p := portalOfOneItem(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/revokeToken") {
			revokes.Add(1)
		}
		return false
	})
	fault(t, p.Revoke(t.Context(), theSeat), credential.ClassRetryable, "still active")
	if revokes.Load() != 1 {
		t.Errorf("%d revokes", revokes.Load())
	}
	must(t, p.Revoke(t.Context(), credential.SeatID{Item: "i", Slot: 2})) // is inactive, and said to be
}

// An error that a portal gives while the key dies all the same is a revoke.
func TestRevokeThatFailsIsReadBackToo(t *testing.T) {
	for name, body := range noes {
		var dead atomic.Bool
		p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/revokeToken"):
				dead.Store(true)
				_, _ = w.Write([]byte(body.body))
			case dead.Load() && strings.HasSuffix(r.URL.Path, "/registeredAppInfo"):
				_, _ = w.Write([]byte(strings.Replace(aRegistration, "true", "false", 1)))
			default:
				return false
			}
			return true
		})
		err := p.Revoke(t.Context(), theSeat)
		if !strings.HasPrefix(body.body, "{") || name == "throttled" {
			if err == nil { // no word of the portal on this call: not read back
				t.Errorf("%s: taken for a revoke", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpdateThatDoesNotSaySuccessIsNotTrusted(t *testing.T) {
	p := portalOfOneItem(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/oauth2/token") {
			t.Error("a key was generated with an unknown date")
		}
		if !strings.HasSuffix(r.URL.Path, "/update") {
			return false
		}
		_, _ = w.Write([]byte(`{"id":"i"}`))
		return true
	})
	_, err := p.Issue(t.Context(), theSeat, in(month))
	fault(t, err, credential.ClassUnknown, "success")
}

// The emulator's own errors, with the codes that mean the most.
func TestEmulatedErrorsKeepTheirClass(t *testing.T) {
	for code, class := range map[int]credential.Class{400: credential.ClassPermanent, 403: credential.ClassDenied, 500: credential.ClassRetryable} {
		b := open(t, emulator.Config{})
		item := b.item()
		b.faults(emulator.Rule{Kind: emulator.FaultError, Path: "/content/items/", Code: code})
		_, err := b.portal.Describe(t.Context(), item)
		fault(t, err, class, "Emulated fault")
	}
}
