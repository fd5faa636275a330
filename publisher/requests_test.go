package publisher

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
)

func setUpRequests(t *testing.T, s *site, replicas int) *Requests {
	t.Helper()
	for range 2 { // the second time changes nothing
		if err := SetupRequests(limited(t), s.js, replicas); err != nil {
			t.Fatal(err)
		}
	}
	if problems, err := CheckRequests(limited(t), s.js); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return NewRequests(s.js)
}

// TestOfWhatDaemonsKeepOfARequestOneStays: all of them learn which, at once and
// afterwards, whatever characters the id has.
func TestOfWhatDaemonsKeepOfARequestOneStays(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		const daemons = 8
		replicas := 1
		if s.cluster != nil {
			replicas = 3
		}
		requests := setUpRequests(t, s, replicas)
		for _, id := range []string{"3f1c4c52-6a0e-4f6e-9d8a-5d2f1f0a0001", ".", "a..b", "a.b", "a-b", strings.Repeat(".", 64)} {
			if kept, err := requests.Outcome(limited(t), id); err != nil || kept != nil {
				t.Fatalf("%q before: %s, %v", id, kept, err)
			}
			var group sync.WaitGroup
			var stays [daemons]string
			for n := range daemons {
				group.Go(func() {
					kept, err := NewRequests(s.js).Keep(limited(t), id, []byte(id+fmt.Sprint(n)))
					if err != nil {
						t.Errorf("%q: %v", id, err)
					}
					stays[n] = string(kept)
				})
			}
			group.Wait()
			kept, err := requests.Outcome(limited(t), id)
			if err != nil || !strings.HasPrefix(string(kept), id) || len(kept) != len(id)+1 {
				t.Errorf("%q: %s, %v", id, kept, err)
			}
			for n, got := range stays {
				if got != string(kept) {
					t.Errorf("%q: daemon %d was told %q, kept is %q", id, n, got, kept)
				}
			}
		}
	})
}

// TestWhatIsKeptOfRequestsOutlivesTheServer and no limit drops it while it is fresh.
func TestWhatIsKeptOfRequestsOutlivesTheServer(t *testing.T) {
	server := natstest.Start(t)
	_, js := natstest.Connect(t, server.ClientURL())
	if err := SetupRequests(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	config := RequestsStreamConfig(3)
	if config.MaxAge <= 2*credential.Freshness || config.Discard != jetstream.DiscardNew || config.MaxBytes <= 0 || config.Replicas != 3 {
		t.Errorf("a stream of %+v", config)
	}
	config.MaxBytes, config.Replicas = 200, 1 // one fits
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	requests := NewRequests(js)
	if _, err := requests.Keep(t.Context(), "r-1", []byte("unchanged")); err != nil {
		t.Fatal(err)
	}
	full := func() {
		t.Helper()
		_, err := requests.Keep(t.Context(), "r-2", make([]byte, 100))
		if !credential.IsClass(err, credential.ClassRetryable) || !strings.Contains(err.Error(), "is full") || !strings.Contains(err.Error(), "15m") {
			t.Errorf("a full stream: %v", err)
		}
		if kept, err := requests.Outcome(t.Context(), "r-1"); err != nil || string(kept) != "unchanged" {
			t.Errorf("r-1: %q, %v", kept, err)
		}
	}
	full()
	server.Restart(t)
	natstest.Eventually(t, "NATS is back", func() bool { _, err := requests.Outcome(t.Context(), "r-1"); return err == nil })
	full()
}

// TestCheckRequests says what is wrong and what to do.
func TestCheckRequests(t *testing.T) {
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	found := func(words ...string) {
		t.Helper()
		problems, err := CheckRequests(t.Context(), js)
		if err != nil || len(problems) != len(words) {
			t.Fatalf("%v, %v; want %q", problems, err, words)
		}
		for i, word := range words {
			if !strings.Contains(problems[i].String(), word) {
				t.Errorf("%s, want %q", problems[i], word)
			}
		}
	}
	found("is missing: requests are refused, since a replay would not be noticed (try: keyturn setup)")
	requests := NewRequests(js)
	_, looked := requests.Outcome(t.Context(), "r-1")
	_, kept := requests.Keep(t.Context(), "r-1", nil)
	for _, err := range []error{looked, kept} {
		if err == nil || !strings.Contains(err.Error(), RequestsStream+" is missing") || !strings.Contains(err.Error(), "keyturn setup") {
			t.Errorf("without the stream: %v", err)
		}
	}
	if err := SetupRequests(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := requests.Keep(t.Context(), "r-1", []byte("x")); err != nil {
		t.Errorf("once it is there: %v", err)
	}
	if err := js.DeleteStream(t.Context(), RequestsStream); err != nil {
		t.Fatal(err)
	}
	if _, err := requests.Outcome(t.Context(), "r-1"); err == nil || !strings.Contains(err.Error(), "keyturn setup") {
		t.Errorf("gone again: %v", err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: RequestsStream, Subjects: []string{"x"}, AllowDirect: true, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	found("--subjects 'keyturn.requests.*'", "forgets nothing", "--discard new", "has no limit", "--no-allow-direct", "keyturn setup")
}
