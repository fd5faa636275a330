package control_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// counting counts the requests that a daemon looked up.
type counting struct {
	control.Outcomes
	looks atomic.Int64
}

func (c *counting) Outcome(ctx context.Context, id string) ([]byte, error) {
	defer c.looks.Add(1)
	return c.Outcomes.Outcome(ctx, id)
}

// pair runs two daemons' services on one record.
func pair(t *testing.T, change ...func(*control.Config)) (d *desk, both [2]*counting, stop func()) {
	t.Helper()
	s, admin := newSite(t)
	var desks [2]*desk
	for i := range desks {
		desks[i] = s.open(t, admin, append(change, func(c *control.Config) {
			both[i] = &counting{Outcomes: c.Outcomes}
			c.Outcomes = both[i]
		})...)
	}
	return desks[0], both, func() {
		for _, d := range desks {
			must(t, d.end())
		}
	}
}

// atBoth sends a message until each daemon has had it again.
func atBoth(t *testing.T, d *desk, both [2]*counting, message *nats.Msg, check func(answer control.Answer, code, text string)) {
	t.Helper()
	began := [2]int64{both[0].looks.Load(), both[1].looks.Load()}
	for range 200 {
		check(d.send(t, message))
		if both[0].looks.Load() > began[0] && both[1].looks.Load() > began[1] {
			return
		}
	}
	t.Fatal("one of the daemons was never asked")
}

// TestARepeatGetsTheFirstAnswerFromAnyDaemon: also when the state has moved on,
// and at a daemon that was started since; nothing is done twice.
func TestARepeatGetsTheFirstAnswerFromAnyDaemon(t *testing.T) {
	d, both, stop := pair(t)
	const name = credential.Name("maps/web")
	d.declared(name)
	hold := d.request("r-hold", control.SubjectHold, `{"name":"maps/web","reason":"audit"}`)
	first := d.ask(t, hold)
	if first.Result != control.ResultHeld || first.Revision != 2 {
		t.Fatalf("the first: %+v", first)
	}
	same := func(answer control.Answer, code, text string) {
		t.Helper()
		if code != "" || answer.Result != first.Result || answer.Revision != first.Revision || answer.Request != "r-hold" {
			t.Fatalf("the repeat: %+v %s %s, want %+v", answer, code, text, first)
		}
	}
	atBoth(t, d, both, hold, same)
	if got := d.state(name); got.Revision != 2 {
		t.Fatalf("revision %d after repeats", got.Revision)
	}

	d.ask(t, d.request("r-release", control.SubjectRelease, `{"name":"maps/web"}`))
	atBoth(t, d, both, hold, same)
	if got := d.state(name); got.Revision != 3 || got.Hold != nil {
		t.Errorf("the replay of a hold that was released: revision %d, %+v", got.Revision, got.Hold)
	}

	other := d.request("r-hold", control.SubjectHold, `{"name":"maps/web","reason":"another"}`)
	atBoth(t, d, both, other, func(_ control.Answer, code, text string) {
		if code != control.CodeConflict || !strings.Contains(text, "another request had the id r-hold") {
			t.Fatalf("another request under the same id: %s %s", code, text)
		}
	})
	elsewhere := d.request("r-hold", control.SubjectRelease, `{"name":"maps/web","reason":"audit"}`)
	if _, code, text := d.send(t, elsewhere); code != control.CodeConflict {
		t.Errorf("the same arguments at another endpoint: %s %s", code, text)
	}

	stop()
	restarted := d.open(t, d.identity)
	same(restarted.send(t, hold))
	if got := d.state(name); got.Revision != 3 || got.Hold != nil {
		t.Errorf("the replay at a new daemon: revision %d, %+v", got.Revision, got.Hold)
	}
	must(t, restarted.end())

	later := d.open(t, d.identity, func(c *control.Config) {
		c.Now = func() time.Time { return time.Now().Add(credential.Freshness + time.Second) }
	})
	if _, code, text := later.send(t, hold); code != control.CodeDenied || !strings.Contains(text, "apart") {
		t.Errorf("the replay of an old one: %s %s", code, text)
	}
}

// TestTheEventsOfRequestsLeadToTheirStates: whoever reads the record from its
// beginning comes to what each event carries, ids and digests included.
func TestTheEventsOfRequestsLeadToTheirStates(t *testing.T) {
	d := open(t)
	const name = credential.Name("maps/web")
	d.declared(name)
	d.ask(t, d.request("r-1", control.SubjectHold, `{"name":"maps/web","reason":"audit"}`))
	d.ask(t, d.request("r-2", control.SubjectRelease, `{"name":"maps/web"}`))
	before, events := credential.State{}, 0
	must(t, d.record.History(t.Context(), name, func(e credential.Entry) error {
		events++
		if e.Event.Digest == "" || e.Event.Request == "" || e.Event.Actor != "ann" {
			t.Errorf("event %d is of request %q, digest %q, by %s", events, e.Event.Request, e.Event.Digest, e.Event.Actor)
		}
		before = credential.Evolve(before, e.Event)
		before.Name = name
		if diff := cmp.Diff(e.State, before); diff != "" {
			t.Errorf("event %d: %s", events, diff)
		}
		return nil
	}))
	if events != 3 || len(before.Answered) != 3 {
		t.Errorf("%d events, answered %v", events, before.Answered)
	}
}

// TestARepeatedDeclarationSaysWhatTheFirstSaid: registered, and not updated.
func TestARepeatedDeclarationSaysWhatTheFirstSaid(t *testing.T) {
	d := open(t)
	m := d.request("r-1", control.SubjectApply, `{"name":"maps/web","spec":{"issuer":"portal","item":{"title":"T","privileges":["premium:user:basemaps"]},"policy":{"lifetime":"1h"}}}`)
	for range 2 {
		if answer := d.ask(t, m); answer.Result != control.ResultRegistered || answer.Revision != 1 {
			t.Errorf("%+v, want it registered at revision 1", answer)
		}
	}
}

// mute carries out the first command and keeps its answer back.
type mute struct {
	control.Commander
	commands atomic.Int64
	free     chan struct{}
}

func (m *mute) Command(ctx context.Context, name credential.Name, command credential.Command) (credential.State, error) {
	state, err := m.Commander.Command(ctx, name, command)
	if m.commands.Add(1) == 1 {
		<-m.free
	}
	return state, err
}

// TestTheClientSendsTheSameAgainWhenNoAnswerComes: it gets the first answer, and
// the wish is on record once.
func TestTheClientSendsTheSameAgainWhenNoAnswerComes(t *testing.T) {
	s, admin := newSite(t)
	lost := &mute{free: make(chan struct{})}
	d := s.open(t, admin, func(c *control.Config) { lost.Commander, c.Commander = c.Commander, lost })
	t.Cleanup(func() { close(lost.free) })
	lost.commands.Store(1)
	d.declared("maps/web")
	lost.commands.Store(0)
	spy, err := s.conn.SubscribeSync(control.SubjectRotate)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	answer, err := d.client.Rotate(ctx, control.Rotate{Name: "maps/web", Now: true})
	if err != nil || answer.Result != control.ResultRequested || answer.Revision != 2 {
		t.Errorf("%+v, %v; want the first answer", answer, err)
	}
	if got := d.state("maps/web").Revision; got != 2 || lost.commands.Load() < 2 {
		t.Errorf("revision %d after %d commands, want 2 after at least 2", got, lost.commands.Load())
	}
	var sent [2]*nats.Msg
	for i := range sent {
		sent[i], err = spy.NextMsgWithContext(t.Context())
		must(t, err)
	}
	if string(sent[0].Data) != string(sent[1].Data) || sent[0].Header.Get(control.HeaderSignature) != sent[1].Header.Get(control.HeaderSignature) {
		t.Errorf("the second one differs:\n%s\n%s", sent[0].Data, sent[1].Data)
	}
}

// TestTheClientGivesUp after three sends, with a hint.
func TestTheClientGivesUp(t *testing.T) {
	s, admin := newSite(t)
	deaf, err := s.conn.SubscribeSync(control.SubjectLimits)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = control.NewClient(s.conn, admin.Identity).Limits(ctx)
	if err == nil || !strings.Contains(err.Error(), "keyturn doctor") || !strings.Contains(err.Error(), "may have done it all the same") {
		t.Errorf("got %v", err)
	}
	if n, _, err := deaf.Pending(); err != nil || n != 3 {
		t.Errorf("%d sent, %v; want 3", n, err)
	}
	must(t, deaf.Unsubscribe())
	dying, err := s.conn.SubscribeSync(control.SubjectThaw)
	must(t, err)
	must(t, dying.AutoUnsubscribe(1)) // it hears, and is gone when it is asked again
	ctx, cancel = context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	_, err = control.NewClient(s.conn, admin.Identity).Thaw(ctx, control.Thaw{})
	if err == nil || errors.Is(err, control.ErrNoDaemon) || !strings.Contains(err.Error(), "may have done it all the same") {
		t.Errorf("a daemon that ended in the middle: %v", err)
	}
}

// TestRequestsUnderWayAreAnsweredAtTheEnd of a daemon.
func TestRequestsUnderWayAreAnsweredAtTheEnd(t *testing.T) {
	s, admin := newSite(t)
	slow := &mute{free: make(chan struct{})}
	d := s.open(t, admin, func(c *control.Config) { slow.Commander, c.Commander = c.Commander, slow })
	slow.commands.Store(1)
	d.declared("maps/web")
	slow.commands.Store(0)
	answered := make(chan error, 1)
	go func() {
		_, err := d.client.Rotate(t.Context(), control.Rotate{Name: "maps/web"})
		answered <- err
	}()
	natstest.Eventually(t, "the wish is on record", func() bool { return d.state("maps/web").Revision == 2 })
	ended := make(chan error, 1)
	go func() { ended <- d.end() }()
	natstest.Eventually(t, "it takes no more requests", func() bool { return errors.Is(control.Ping(t.Context(), s.conn), control.ErrNoDaemon) })
	if len(ended) > 0 {
		t.Error("it ended while a request was under way")
	}
	close(slow.free)
	must(t, <-answered)
	must(t, <-ended)
}
