package publisher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/natstest"
)

func readDenied(t *testing.T, s *site, since time.Time) (list []string) {
	t.Helper()
	if err := ReadDenied(limited(t), s.js, since, func(data []byte) error {
		list = append(list, string(data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestDeniedRequestsAreKept in a stream of their own, in order, and read from an
// instant on.
func TestDeniedRequestsAreKept(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		for range 2 { // the second time changes nothing
			if err := SetupDenied(limited(t), s.js, 1); err != nil {
				t.Fatal(err)
			}
		}
		if problems, err := CheckDenied(limited(t), s.js); err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		s.interested(t, deniedPrefix+"hold")
		if list := readDenied(t, s, time.Time{}); list != nil {
			t.Errorf("an empty stream gives %v", list)
		}
		put := func(endpoint, text string) {
			t.Helper()
			if err := PublishDenied(limited(t), s.js, endpoint, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		put("hold", "1")
		put("release", "2")
		stream, err := s.js.Stream(limited(t), DeniedStream)
		if err != nil {
			t.Fatal(err)
		}
		since := stream.CachedInfo().State.LastTime.Add(time.Nanosecond)
		put("hold", "3")
		if list := readDenied(t, s, time.Time{}); fmt.Sprint(list) != "[1 2 3]" {
			t.Errorf("read %v", list)
		}
		if list := readDenied(t, s, since); fmt.Sprint(list) != "[3]" {
			t.Errorf("since then: %v", list)
		}
		if list := readDenied(t, s, time.Now().Add(time.Hour)); list != nil {
			t.Errorf("of the future: %v", list)
		}
		if err := PublishDenied(limited(t), s.js, "hold", make([]byte, maxDeniedEach+1)); err == nil {
			t.Error("a large one is taken")
		}
		if info, err := s.js.Stream(limited(t), StreamName); err != nil || info.CachedInfo().State.Msgs != 0 {
			t.Errorf("the record has got something: %v", err)
		}
	})
}

// TestNobodyFillsTheStreamOfDenials: what is old goes, at each endpoint by itself.
func TestNobodyFillsTheStreamOfDenials(t *testing.T) {
	s := oneNode(t)
	config := DeniedStreamConfig(1)
	config.MaxMsgsPerSubject = 5 // as setup makes it, but smaller
	if _, err := s.js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := PublishDenied(t.Context(), s.js, "release", []byte("the rare one")); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := PublishDenied(t.Context(), s.js, "hold", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if list := readDenied(t, s, time.Time{}); fmt.Sprint(list) != "[the rare one 15 16 17 18 19]" {
		t.Errorf("left: %v", list)
	}
	if c := DeniedStreamConfig(3); c.MaxBytes <= 0 || c.MaxMsgSize <= 0 || c.MaxMsgsPerSubject <= 0 || c.Discard != jetstream.DiscardOld || c.Replicas != 3 {
		t.Errorf("without limits: %+v", c)
	}
}

// TestCheckDenied says what is wrong and what to do.
func TestCheckDenied(t *testing.T) {
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	found := func(words ...string) {
		t.Helper()
		problems, err := CheckDenied(t.Context(), js)
		if err != nil || len(problems) != len(words) {
			t.Fatalf("%v, %v; want %q", problems, err, words)
		}
		for i, word := range words {
			if !strings.Contains(problems[i].String(), word) {
				t.Errorf("%s, want %q", problems[i], word)
			}
		}
	}
	found("is missing: denied requests are not kept (try: keyturn setup)")
	if err := PublishDenied(t.Context(), js, "hold", nil); err == nil || !strings.Contains(err.Error(), "keyturn setup") {
		t.Errorf("published into nothing: %v", err)
	}
	if err := ReadDenied(t.Context(), js, time.Time{}, nil); err == nil || !strings.Contains(err.Error(), "keyturn setup") {
		t.Errorf("read from nothing: %v", err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: DeniedStream, Subjects: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	found("--subjects 'keyturn.denied.>'", "--discard old --max-bytes")
}
