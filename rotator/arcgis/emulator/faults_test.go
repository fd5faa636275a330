package emulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

func (b *bench) faults(rules ...emulator.Rule) {
	b.t.Helper()
	if err := b.p.SetFaults(emulator.Faults{Rules: rules}); err != nil {
		b.t.Fatal(err)
	}
}

// fetch gets /info and says how that went.
func (b *bench) fetch() (status int, body string, err error) {
	res, err := b.do(http.MethodPost, b.root+"/info", nil, url.Values{"f": {"json"}})
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), err
}

func TestFaultsThatSpoilTheAnswer(t *testing.T) {
	b := start(t, emulator.Config{})
	_, right, _ := b.fetch()
	for name, x := range map[string]struct {
		rule emulator.Rule
		good func(status int, body string, err error) bool
	}{
		"error body": {emulator.Rule{Kind: emulator.FaultError, Code: 400, MessageCode: "X", Message: "no", Details: []string{"d"}}, func(s int, body string, err error) bool {
			return s == 200 && body == `{"error":{"code":400,"messageCode":"X","message":"no","details":["d"]}}`
		}},
		"error status": {emulator.Rule{Kind: emulator.FaultError, Status: 503}, func(s int, body string, err error) bool {
			return s == 503 && strings.Contains(body, `"code":500`)
		}},
		"throttle": {emulator.Rule{Kind: emulator.FaultThrottle}, func(s int, body string, err error) bool { return s == 403 }},
		"drop":     {emulator.Rule{Kind: emulator.FaultDrop}, func(s int, body string, err error) bool { return err != nil && s == 0 }},
		"half": {emulator.Rule{Kind: emulator.FaultHalf}, func(s int, body string, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && strings.HasPrefix(right, body) && len(body) == len(right)/2
		}},
		"html":    {emulator.Rule{Kind: emulator.FaultHTML, Status: 502}, func(s int, body string, err error) bool { return s == 502 && strings.Contains(body, "<html>") }},
		"garbage": {emulator.Rule{Kind: emulator.FaultGarbage}, func(s int, body string, err error) bool { return s == 200 && !json.Valid([]byte(body)) }},
		"empty":   {emulator.Rule{Kind: emulator.FaultEmpty}, func(s int, body string, err error) bool { return s == 200 && body == "" && err == nil }},
	} {
		b.faults(x.rule)
		if s, body, err := b.fetch(); !x.good(s, body, err) {
			t.Errorf("%s: %d %q %v", name, s, body, err)
		}
	}
	b.faults()
	if _, body, _ := b.fetch(); body != right {
		t.Errorf("faults stay: %q", body)
	}
}

func TestALostReplyHasActed(t *testing.T) {
	b := start(t, emulator.Config{})
	c := b.basemaps()
	old := c.key("1")
	for name, rule := range map[string]emulator.Rule{
		"dropped before": {Kind: emulator.FaultDrop},
		"dropped after":  {Kind: emulator.FaultDrop, Act: true},
		"half":           {Kind: emulator.FaultHalf},
		"html after":     {Kind: emulator.FaultHTML, Act: true},
	} {
		rule.Path, rule.Param = "/oauth2/token", "apiToken=1"
		b.faults(rule)
		before := b.p.Snapshot()[0].Slots[0].Generations
		res, err := b.do(http.MethodPost, b.root+"/oauth2/token", nil, url.Values{"f": {"json"}, "client_id": {c.client}, "client_secret": {c.secret},
			"grant_type": {"client_credentials"}, "apiToken": {"1"}, "regenerateApiToken": {"true"}})
		if err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		acted := b.p.Snapshot()[0].Slots[0].Generations > before
		equal(t, acted, rule.Act || rule.Kind == emulator.FaultHalf)
		equal(t, b.p.Faults().Rules[0].Fired, 1)
		_ = name
	}
	b.mustWork(false, old)
	c.key("2") // the rule is about slot 1 only
}

func TestFaultsCount(t *testing.T) {
	b := start(t, emulator.Config{})
	run := func(r emulator.Rule) (pattern string) {
		r.Kind = emulator.FaultError
		b.faults(r)
		for range 8 {
			if _, body, _ := b.fetch(); strings.Contains(body, "error") {
				pattern += "x"
			} else {
				pattern += "."
			}
		}
		return pattern
	}
	equal(t, run(emulator.Rule{}), "xxxxxxxx")
	equal(t, run(emulator.Rule{Count: 2}), "xx......")
	equal(t, run(emulator.Rule{After: 3, Count: 2}), "...xx...")
	equal(t, run(emulator.Rule{Every: 3}), "..x..x..")
	equal(t, run(emulator.Rule{Path: "/sharing*info"}), "xxxxxxxx")
	equal(t, run(emulator.Rule{Path: "/oauth2/"}), "........")
	equal(t, run(emulator.Rule{Param: "f"}), "xxxxxxxx")
	equal(t, run(emulator.Rule{Param: "f=html"}), "........")
	if p := run(emulator.Rule{Rate: 1e-9}); p != "........" {
		t.Error(p)
	}
	b.faults(emulator.Rule{Kind: emulator.FaultEmpty, Count: 1}, emulator.Rule{Kind: emulator.FaultError})
	_, first, _ := b.fetch()
	_, second, _ := b.fetch()
	equal(t, first == "" && strings.Contains(second, "error"), true)
}

func TestSilenceEndsWithTheClient(t *testing.T) {
	b := start(t, emulator.Config{})
	b.faults(emulator.Rule{Kind: emulator.FaultSilence})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.root+"/info", strings.NewReader("f=json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = http.DefaultClient.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	b.srv.Close() // returns only when no request is left
}

func TestSilenceEndsWithThePortal(t *testing.T) {
	b := start(t, emulator.Config{})
	b.faults(emulator.Rule{Kind: emulator.FaultSilence})
	ended := make(chan error, 1)
	go func() {
		_, _, err := b.fetch()
		ended <- err
	}()
	awaitFault(t, b.p)
	b.p.Close()
	if err := <-ended; err == nil {
		t.Error("an answer came")
	}
}

func TestLatencyIsARoundTrip(t *testing.T) {
	b := start(t, emulator.Config{})
	b.p.SetFaults(emulator.Faults{Latency: 40 * time.Millisecond, Jitter: time.Millisecond,
		Rules: []emulator.Rule{{Kind: emulator.FaultDelay, Path: "/info", Delay: 30 * time.Millisecond}}})
	begun := time.Now()
	s, body, err := b.fetch()
	if took := time.Since(begun); took < 70*time.Millisecond || s != 200 || strings.Contains(body, "error") {
		t.Errorf("took %v: %d %s %v", took, s, body, err)
	}
	b.p.SetFaults(emulator.Faults{Latency: time.Hour})
	b.raw(http.MethodGet, b.srv.URL+"/emulator/faults", nil, nil) // the controls stay quick
}

func TestFaultsTravelAsJSON(t *testing.T) {
	b := start(t, emulator.Config{})
	put := func(method, body string) int {
		req, _ := http.NewRequest(method, b.srv.URL+"/emulator/faults", strings.NewReader(body))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	equal(t, put(http.MethodPut, `{"latency":"1ms","jitter":"2ms","rules":[{"kind":"error","path":"/info","delay":"3ms","retryAfter":"4s","fired":9}]}`), 200)
	want := emulator.Faults{Latency: time.Millisecond, Jitter: 2 * time.Millisecond, Rules: []emulator.Rule{
		{Kind: "error", Path: "/info", Delay: 3 * time.Millisecond, RetryAfter: 4 * time.Second}}}
	if d := cmp.Diff(want, b.p.Faults()); d != "" {
		t.Fatal(d)
	}
	b.fetch()
	_, body := b.raw(http.MethodGet, b.srv.URL+"/emulator/faults", nil, nil)
	var got emulator.Faults
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	equal(t, got.Rules[0].Fired, 1)
	equal(t, strings.Contains(body, `"retryAfter": "4s"`), true)
	for _, bad := range []string{`{"rules":[{"kind":"x"}]}`, `{"latency":"fast"}`, `{"lag":"1s"}`, `{"rules":[{"kind":"drop","rate":2}]}`,
		`{"rules":[{"kind":"drop","colour":"red"}]}`, `{"rules":[{"kind":"html","status":99}]}`, `{`} {
		equal(t, put(http.MethodPut, bad), 400)
	}
	equal(t, put(http.MethodPost, `{}`), 405)
}

func TestHandEditsEventsAndCalls(t *testing.T) {
	b := start(t, emulator.Config{MaxEvents: 3})
	c := b.basemaps()
	old := c.key("1")
	key, err := b.p.RegenerateByHand(c.id, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.mustWork(false, old)
	b.mustWork(true, key)
	if err := b.p.InvalidateByHand(c.id, 1); err != nil {
		t.Fatal(err)
	}
	b.mustWork(false, key)
	s := b.p.Snapshot()[0].Slots[0]
	equal(t, s.Active, false)
	equal(t, s.Generations, 2)
	equal(t, s.Generated, b.clock.Now().Truncate(time.Millisecond))
	if err := b.p.DeleteByHand(c.id); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range b.p.Events() {
		kinds = append(kinds, e.Kind+" by "+e.Actor)
	}
	if d := cmp.Diff([]string{"key-generated by hand", "key-revoked by hand", "item-deleted by hand"}, kinds); d != "" {
		t.Fatal(d)
	}
	equal(t, b.p.Calls()["/oauth2/token"], 1)
	equal(t, b.p.Calls()["/content/users/{user}/items/{item}/update"], 2)
	for _, err := range []error{b.p.DeleteByHand(c.id), b.p.InvalidateByHand(c.id, 1), b.p.InvalidateByHand(b.bare("x"), 1), b.p.InvalidateByHand(b.basemaps().id, 3)} {
		if err == nil {
			t.Error("a hand edit of nothing succeeds")
		}
	}
	d := b.basemaps()
	_, body := b.raw(http.MethodPost, b.srv.URL+"/emulator/hand", nil, url.Values{"action": {"regenerate"}, "itemId": {d.id}, "apiToken": {"2"}})
	var m object
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err, body)
	}
	b.mustWork(true, m["key"].(string))
	_, body = b.raw(http.MethodGet, b.srv.URL+"/emulator/state", nil, nil)
	equal(t, strings.Contains(body, m["key"].(string)), false)
	equal(t, strings.Contains(body, d.id), true)
}

func TestTheDateHeaderIsThePortalsClock(t *testing.T) {
	b := start(t, emulator.Config{})
	b.clock.Advance(1000 * time.Hour)
	for _, path := range []string{b.root + "/info", b.srv.URL + "/emulator/", b.srv.URL + "/emulator/resource", b.srv.URL + "/nowhere"} {
		res, err := b.do(http.MethodGet, path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		equal(t, res.Header.Get("Date"), b.clock.Now().UTC().Format(http.TimeFormat))
		equal(t, res.Header.Get("X-Emulated-Portal"), "keyturn")
	}
}

func TestRunServesUntilTheContextEnds(t *testing.T) {
	p, err := emulator.New(emulator.Config{Faults: emulator.Faults{Rules: []emulator.Rule{{Kind: emulator.FaultSilence, Path: "/info"}}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, l) }()
	var silent sync.WaitGroup
	silent.Go(func() {
		if res, err := http.Get("http://" + l.Addr().String() + "/sharing/rest/info"); err == nil {
			res.Body.Close()
			t.Error("an answer came")
		}
	})
	awaitFault(t, p)
	cancel()
	silent.Wait()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestManyAtOnce(t *testing.T) {
	b := start(t, emulator.Config{Dir: t.TempDir()})
	var creds []credential
	for range 4 {
		creds = append(creds, b.basemaps())
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			c := creds[i%4]
			slot := []string{"1", "2"}[i/4]
			for range 20 {
				key := c.key(slot) // nobody else is at this slot
				if !b.works(key) {
					t.Error("a new key does not work")
				}
				b.p.Snapshot()
				b.ok(b.post("/content/users/" + user))
				b.ok(b.post("/search", "q", "credential"))
				c.info()
			}
		})
	}
	all.Wait()
	equal(t, b.p.Snapshot()[0].Slots[1].Generations, 20)
}

// awaitFault waits until the portal's first fault has met a request.
func awaitFault(t *testing.T, p *emulator.Portal) {
	t.Helper()
	limit, look := time.After(20*time.Second), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for p.Faults().Rules[0].Fired == 0 {
		select {
		case <-limit:
			t.Fatal("no request has met the fault")
		case <-look.C:
		}
	}
}
