package control_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
)

// TestAFloodOfDenialsIsCutShort: so many are logged and kept, the rest is counted,
// also in the next one that is kept; who is entitled is served meanwhile.
func TestAFloodOfDenialsIsCutShort(t *testing.T) {
	s, admin := newSite(t)
	core, logs := observer.New(zapcore.WarnLevel)
	var mu sync.Mutex
	then := time.Now() // the clock stands still: no new allowance comes
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return then }
	d := s.open(t, admin, func(c *control.Config) { c.Logger, c.Now = zap.New(core), now })
	const flood = 500
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range flood / 4 {
				if _, code, _ := d.send(t, &nats.Msg{Subject: control.SubjectHold, Data: body("r", then, `{"name":"a/b"}`)}); code != control.CodeDenied {
					t.Errorf("code %s", code)
				}
			}
		})
	}
	group.Wait()
	if _, err := d.client.Limits(t.Context()); err != nil {
		t.Errorf("a sound request after the flood: %v", err)
	}
	natstest.Eventually(t, "all are counted", func() bool { c := d.counts(); return c["unsigned true"]+c["unsigned false"] == flood })
	kept := d.counts()["unsigned true"]
	if list := s.denials(t); len(list) != kept || kept > 50 || kept == 0 {
		t.Errorf("%d kept, %d counted as kept; want the same, and at most 50", len(list), kept)
	}
	if n := logs.FilterMessage("a request was denied").Len(); n > 50 || n < kept {
		t.Errorf("%d lines in the log, want at most 50", n)
	}
	mu.Lock()
	then = then.Add(time.Second)
	mu.Unlock()
	d.send(t, &nats.Msg{Subject: control.SubjectHold, Data: body("last", then, `{"name":"a/b"}`)})
	natstest.Eventually(t, "the next one is kept", func() bool { return len(s.denials(t)) > kept })
	dropped := uint64(0)
	for _, denial := range s.denials(t) {
		dropped += denial.Dropped
	}
	if want := uint64(flood - kept); dropped != want {
		t.Errorf("the denials tell of %d dropped, want %d", dropped, want)
	}
}

// TestADenialIsNotKeptWithoutTheStream: that is logged and counted, and changes
// nothing for anybody.
func TestADenialIsNotKeptWithoutTheStream(t *testing.T) {
	s, admin := newSite(t)
	must(t, s.js.DeleteStream(t.Context(), publisher.DeniedStream))
	core, logs := observer.New(zapcore.WarnLevel)
	d := s.open(t, admin, func(c *control.Config) { c.Logger = zap.New(core) })
	if _, code, _ := d.send(t, &nats.Msg{Subject: control.SubjectHold, Data: body("r", time.Now(), `{}`)}); code != control.CodeDenied {
		t.Errorf("code %s", code)
	}
	must(t, d.end())
	lines := logs.FilterMessage("a denied request was not kept").All()
	if len(lines) != 1 || !strings.Contains(lines[0].ContextMap()["error"].(string), "keyturn setup") {
		t.Errorf("logged %v", logs.All())
	}
	if d.counts()["unsigned false"] != 1 {
		t.Errorf("counted %v", d.counts())
	}
}

// TestTheEndDoesNotWaitForDenials that cannot be kept.
func TestTheEndDoesNotWaitForDenials(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin, func(c *control.Config) {
		c.Keep = func(ctx context.Context, _ control.Denial) error { <-ctx.Done(); return ctx.Err() }
	})
	for range 40 {
		d.send(t, &nats.Msg{Subject: control.SubjectHold, Data: body("r", time.Now(), `{}`)})
	}
	began := time.Now()
	must(t, d.end())
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if d.counts()["unsigned false"] != 40 {
		t.Errorf("counted %v", d.counts())
	}
}

// TestWhatASenderWroteIsCleaned before it is kept or logged.
func TestWhatASenderWroteIsCleaned(t *testing.T) {
	s, admin := newSite(t)
	d := s.open(t, admin)
	m := &nats.Msg{Subject: control.SubjectHold, Header: nats.Header{
		control.HeaderOperator: {"U\x1b[2J" + strings.Repeat("x", 5000)}, control.HeaderSignature: {"s"},
	}, Data: body("r", time.Now(), `{"name":"\u001b[2J\n`+strings.Repeat("y", 3000)+`","reason":"words"}`)}
	_, code, text := d.send(t, m)
	if code != control.CodeDenied || len(text) > 400 || strings.ContainsAny(text, "\x1b\n") {
		t.Errorf("%s %q", code, text)
	}
	natstest.Eventually(t, "it is kept", func() bool { return len(s.denials(t)) == 1 })
	got := s.denials(t)[0]
	if len(got.Key) > 130 || strings.ContainsAny(got.Key, "\x1b\n") || !strings.Contains(got.Key, "?[2J") {
		t.Errorf("kept %q", got.Key)
	}
	if got.Credential != "" {
		t.Errorf("kept %q, which is no name and may be a key", got.Credential)
	}
}
