package control_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

const (
	awaited    = credential.Name("maps/web")
	fresh      = credential.Fingerprint("00000000000000f2")
	beforeThat = credential.Fingerprint("00000000000000f1")
)

// awaiting appends the life of a credential up to a new key that waits for the
// consumers shop and batch, as its rotation would.
func (d *desk) awaiting(t *testing.T) {
	t.Helper()
	gated := spec(time.Hour)
	gated.Policy.SettleSet = true
	gated.Policy.Confirm = &credential.Confirm{Consumers: []string{"shop", "batch"}, Before: credential.BeforePromote, Deadline: credential.Duration(time.Minute), Then: credential.ThenHalt}
	_, err := d.client.Apply(t.Context(), control.Apply{Name: awaited, Spec: gated})
	must(t, err)
	work := credential.Work{}
	for _, next := range []func(credential.State) credential.Command{
		func(credential.State) credential.Command { return credential.Begin{Reason: credential.ReasonFirstKey} },
		func(credential.State) credential.Command { return credential.ItemMade{Item: "i1"} },
		func(s credential.State) credential.Command { return issued(s, beforeThat) },
		func(credential.State) credential.Command {
			return credential.KeyPromoted{Fingerprint: beforeThat, Version: 2}
		},
		func(credential.State) credential.Command {
			return credential.RequestRotation{ID: "r-1", Actor: "oncall", Reason: "test"}
		},
		func(credential.State) credential.Command { return credential.Begin{Reason: credential.ReasonRequested} },
		func(s credential.State) credential.Command { return issued(s, fresh) },
	} {
		state, head, err := d.record.Load(t.Context(), awaited)
		must(t, err)
		event, err := credential.Decide(state, next(state), credential.View{Now: time.Now(), Daemon: "d-test", ID: engine.NewID(), Work: work})
		must(t, err)
		after := credential.Evolve(state, event)
		_, err = d.record.Append(t.Context(), awaited, head, event, after)
		must(t, err)
		work = credential.Work{}
		if n := len(after.Claims); n > 0 {
			work.Claim = after.Claims[n-1].ID
		}
	}
}

func issued(s credential.State, f credential.Fingerprint) credential.Command {
	return credential.KeyIssued{Seat: s.Rotation.Target, Mint: s.Mint, Fingerprint: f, Expires: time.Now().Add(time.Hour), Version: s.Vault.Version + 1}
}

func (d *desk) acknowledged(t *testing.T) (consumers []string) {
	t.Helper()
	must(t, d.record.History(t.Context(), awaited, func(e credential.Entry) error {
		if f, ok := e.Event.Fact.(credential.Acknowledged); ok {
			if e.Event.Actor != f.Consumer || f.Fingerprint != fresh {
				t.Errorf("the record says %+v by %s", f, e.Event.Actor)
			}
			consumers = append(consumers, f.Consumer)
		}
		return nil
	}))
	return consumers
}

func TestAnAcknowledgementIsRecordedOnceForEachConsumer(t *testing.T) {
	d := open(t)
	d.awaiting(t)
	body := []byte(`{"name":"maps/web","fingerprint":"` + string(fresh) + `"}`)
	for i, want := range []struct {
		consumer string
		result   control.Result
	}{{"shop", control.ResultAcknowledged}, {"shop", control.ResultAlready}, {"batch", control.ResultAcknowledged}, {"shop", control.ResultAlready}} {
		reply, err := d.conn.RequestWithContext(t.Context(), control.SubjectConsumer+want.consumer, body)
		must(t, err)
		var answer control.Answer
		must(t, json.Unmarshal(reply.Data, &answer))
		if answer.Result != want.result || answer.Name != awaited {
			t.Errorf("acknowledgement %d by %s: %s %v, want %s", i+1, want.consumer, reply.Data, reply.Header, want.result)
		}
	}
	if got := d.acknowledged(t); !slices.Equal(got, []string{"shop", "batch"}) {
		t.Errorf("on the record: %v", got)
	}
	if n := len(d.changed); n != 3 { // registered, and twice acknowledged
		t.Errorf("told of %d changes, want 3", n)
	}
}

// TestAnAcknowledgementNeedsNoReplySubject: a plain publish is enough.
func TestAnAcknowledgementNeedsNoReplySubject(t *testing.T) {
	d := open(t)
	d.awaiting(t)
	must(t, d.conn.Publish(control.SubjectConsumer+"shop", []byte(`{"name":"maps/web","fingerprint":"bad"}`)))
	must(t, d.conn.Publish(control.SubjectConsumer+"shop", []byte(`{"name":"maps/web","fingerprint":"`+string(fresh)+`"}`)))
	natstest.Eventually(t, "the acknowledgement is on the record", func() bool { return slices.Equal(d.acknowledged(t), []string{"shop"}) })
}

// TestManyDaemonsTakeAnAcknowledgementOnce: they share one queue group.
func TestManyDaemonsTakeAnAcknowledgementOnce(t *testing.T) {
	d := open(t)
	reply, err := d.conn.RequestWithContext(t.Context(), "$SRV.INFO.keyturn", nil)
	must(t, err)
	var info micro.Info
	must(t, json.Unmarshal(reply.Data, &info))
	for _, endpoint := range info.Endpoints {
		if endpoint.Name == "consumer-ack" && endpoint.Subject == "keyturn.ack.*" && endpoint.QueueGroup != "" {
			return
		}
	}
	t.Errorf("no endpoint with a queue group takes acknowledgements: %+v", info.Endpoints)
}

func TestBadAcknowledgementsAreRefusedAndChangeNothing(t *testing.T) {
	d := open(t)
	d.awaiting(t)
	before := d.revision(t, awaited)
	const key = "AAPTxyz-a-whole-key-by-mistake"
	ack := func(name, fingerprint string) string {
		return `{"name":"` + name + `","fingerprint":"` + fingerprint + `"}`
	}
	for what, c := range map[string]struct{ consumer, body, code, text string }{
		"no JSON":                    {"shop", "used", control.CodeBad, "invalid character"},
		"nothing at all":             {"shop", "", control.CodeBad, "EOF"},
		"an unknown field":           {"shop", `{"name":"maps/web","fingerprint":"00000000000000f2","consumer":"batch"}`, control.CodeBad, "unknown field"},
		"two in one":                 {"shop", ack("maps/web", string(fresh)) + ack("maps/web", string(fresh)), control.CodeBad, "follows"},
		"too long":                   {"shop", ack("maps/web", string(fresh)) + strings.Repeat(" ", 4<<10), control.CodeBad, "too many"},
		"a bad name":                 {"shop", ack("maps/*", string(fresh)), control.CodeBad, "not a credential name"},
		"the key itself":             {"shop", ack("maps/web", key), control.CodeBad, "not a fingerprint"},
		"no fingerprint":             {"shop", `{"name":"maps/web"}`, control.CodeBad, "not a fingerprint"},
		"an unknown credential":      {"shop", ack("maps/other", string(fresh)), control.CodeUnknown, "no such credential"},
		"a consumer nobody named":    {"stranger", ack("maps/web", string(fresh)), control.CodeConflict, "names no such consumer"},
		"a key that nobody made":     {"shop", ack("maps/web", "00000000000000f3"), control.CodeConflict, "not the new key"},
		"an answer of a daemon":      {"shop", `{"name":"maps/web","result":"acknowledged","revision":7}`, control.CodeBad, "unknown field"},
		"an event, by the server":    {"shop", `{"schema":1,"actor":"policy","daemon":"d","fact":{},"state":{}}`, control.CodeBad, "unknown field"},
		"a fingerprint that is long": {"shop", ack("maps/web", string(fresh)+"0"), control.CodeBad, "not a fingerprint"},
	} {
		reply, err := d.conn.RequestWithContext(t.Context(), control.SubjectConsumer+c.consumer, []byte(c.body))
		must(t, err)
		code, text := reply.Header.Get(micro.ErrorCodeHeader), reply.Header.Get(micro.ErrorHeader)
		if code != c.code || !strings.Contains(text, c.text) || strings.Contains(text, key) || len(reply.Data) > 0 {
			t.Errorf("%s: %s %q %s, want %s with %q", what, code, text, reply.Data, c.code, c.text)
		}
	}
	if after := d.revision(t, awaited); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
	// the primary is no news, and nothing is appended for it
	reply, err := d.conn.RequestWithContext(t.Context(), control.SubjectConsumer+"shop", []byte(ack("maps/web", string(beforeThat))))
	must(t, err)
	if !strings.Contains(string(reply.Data), `"already"`) || d.revision(t, awaited) != before {
		t.Errorf("of the primary: %s %v", reply.Data, reply.Header)
	}
}
