package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a control service of a real engine on a real record.
type desk struct {
	client  *control.Client
	conn    *nats.Conn
	record  *publisher.Record
	mu      sync.Mutex
	changed []credential.Name
}

func open(t *testing.T) *desk {
	t.Helper()
	conn, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	must(t, publisher.Setup(t.Context(), js, 1))
	seed, _, err := publisher.GenerateSeed()
	must(t, err)
	signer, err := publisher.NewSigner(seed)
	must(t, err)
	must(t, publisher.PublishSigner(t.Context(), js, signer, "test", nil))
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: js, Signer: signer, Installation: "test"})
	must(t, err)

	calendar := &schedule.Calendar{}
	d := &desk{client: control.NewClient(conn, control.Identity{}), conn: conn, record: record}
	service := control.New(control.Config{
		Conn: conn, Version: "1.2.3", Logger: zap.NewNop(),
		Commander: engine.New(engine.Config{Record: record, Calendar: calendar, Daemon: "d-test", Now: time.Now, Logger: zap.NewNop()}),
		Check: func(s credential.Spec) (credential.Spec, error) {
			if s.Issuer != "portal" {
				return s, fmt.Errorf("no issuer %q", s.Issuer)
			}
			var err error
			s.Policy, err = s.Policy.Resolve(time.Second, calendar, time.Now())
			return s, err
		},
		Limits: control.Limits{Issuers: map[string]control.IssuerLimits{"portal": {MinLifetime: time.Second}}},
		Changed: func(name credential.Name, _ credential.State) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.changed = append(d.changed, name)
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	natstest.Eventually(t, "the service answers", func() bool {
		_, err := d.client.Limits(t.Context())
		return err == nil
	})
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func spec(lifetime time.Duration) credential.Spec {
	return credential.Spec{
		Issuer: "portal", Item: credential.ItemSpec{Title: "T", Privileges: []string{"premium:user:basemaps"}},
		Policy: credential.Policy{Lifetime: credential.Duration(lifetime)},
	}
}

func (d *desk) revision(t *testing.T, name credential.Name) uint64 {
	t.Helper()
	state, _, err := d.record.Load(t.Context(), name)
	must(t, err)
	return state.Revision
}

func TestApplyRegistersOnceThenChangesThenDoesNothing(t *testing.T) {
	d := open(t)
	const name = credential.Name("maps/web")
	for _, step := range []struct {
		what     string
		request  control.Apply
		want     control.Result
		revision uint64
	}{
		{"a dry run changes nothing", control.Apply{Name: name, Spec: spec(time.Hour), DryRun: true}, control.ResultRegistered, 0},
		{"the first one registers", control.Apply{Name: name, Spec: spec(time.Hour)}, control.ResultRegistered, 1},
		{"the same again does nothing", control.Apply{Name: name, Spec: spec(time.Hour)}, control.ResultUnchanged, 1},
		{"a dry run of the same says so", control.Apply{Name: name, Spec: spec(time.Hour), DryRun: true}, control.ResultUnchanged, 1},
		{"a dry run of a change changes nothing", control.Apply{Name: name, Spec: spec(2 * time.Hour), DryRun: true}, control.ResultUpdated, 1},
		{"a change is one event", control.Apply{Name: name, Spec: spec(2 * time.Hour)}, control.ResultUpdated, 2},
	} {
		answer, err := d.client.Apply(t.Context(), step.request)
		must(t, err)
		if answer.Result != step.want || d.revision(t, name) != step.revision {
			t.Errorf("%s: %s at revision %d, want %s at %d", step.what, answer.Result, d.revision(t, name), step.want, step.revision)
		}
		if changed := strings.Contains(strings.Join(answer.Changes, "\n"), "policy.lifetime"); changed != (step.want == control.ResultUpdated) {
			t.Errorf("%s: changes %v", step.what, answer.Changes)
		}
	}
	state, _, err := d.record.Load(t.Context(), name)
	must(t, err)
	if state.Spec.Policy.RotateBefore.Std() != 40*time.Minute {
		t.Errorf("the record's policy is not resolved: %+v", state.Spec.Policy)
	}
	if len(d.changed) != 2 {
		t.Errorf("told of %d changes, want 2", len(d.changed))
	}
}

func TestRotateIsRecordedOnceHoweverOftenItIsSent(t *testing.T) {
	d := open(t)
	const name = credential.Name("maps/web")
	_, err := d.client.Apply(t.Context(), control.Apply{Name: name, Spec: spec(time.Hour)})
	must(t, err)
	body := wrapped("r-1", `{"name":"maps/web","reason":"leaver","now":true}`)
	for i := range 2 {
		reply, err := d.conn.RequestWithContext(t.Context(), control.SubjectRotate, body)
		must(t, err)
		var answer control.Answer
		must(t, json.Unmarshal(reply.Data, &answer))
		if answer.Result != control.ResultRequested || answer.Revision != 2 || answer.Request != "r-1" {
			t.Errorf("request %d: %+v, want the first answer", i+1, answer)
		}
	}
	state, _, err := d.record.Load(t.Context(), name)
	must(t, err)
	if r := state.Requested; state.Revision != 2 || r == nil || r.Reason != "leaver" || !r.Now || r.ID != "r-1" {
		t.Errorf("revision %d, requested %+v", state.Revision, r)
	}
}

// wrapped is a request in its envelope.
func wrapped(id, arguments string) []byte {
	return fmt.Appendf(nil, `{"request":%q,"arguments":%s}`, id, arguments)
}

func TestBadRequestsAreRefusedAndChangeNothing(t *testing.T) {
	d := open(t)
	for what, c := range map[string]struct{ subject, body, code, text string }{
		"no JSON":             {control.SubjectApply, "nonsense", control.CodeBad, "invalid character"},
		"two requests in one": {control.SubjectRotate, `{"request":"1"} {"request":"2"}`, control.CodeBad, "follows"},
		"an unknown field":    {control.SubjectApply, `{"request":"1","arguments":{"name":"a/b","speck":{}}}`, control.CodeBad, "unknown field"},
		"a bad name":          {control.SubjectRotate, `{"request":"1","arguments":{"name":"A B"}}`, control.CodeBad, "not a credential name"},
		"an unknown issuer":   {control.SubjectApply, `{"request":"1","arguments":{"name":"a/b","spec":{"issuer":"nobody"}}}`, control.CodeBad, "no issuer"},
		"an impossible life":  {control.SubjectApply, `{"request":"1","arguments":{"name":"a/b","spec":{"issuer":"portal","policy":{"lifetime":"9000h"}}}}`, control.CodeBad, "365 days"},
		"no request id":       {control.SubjectRotate, `{"arguments":{"name":"a/b"}}`, control.CodeBad, "no request id"},
		"an unknown name":     {control.SubjectRotate, `{"request":"1","arguments":{"name":"a/b"}}`, control.CodeUnknown, "no such credential"},
		"nothing at all":      {control.SubjectApply, ``, control.CodeBad, "EOF"},
		"a name like a match": {control.SubjectRotate, `{"request":"1","arguments":{"name":"a/*"}}`, control.CodeBad, "not a credential name"},
	} {
		reply, err := d.conn.RequestWithContext(t.Context(), c.subject, []byte(c.body))
		must(t, err)
		code, text := reply.Header.Get(micro.ErrorCodeHeader), reply.Header.Get(micro.ErrorHeader)
		if code != c.code || !strings.Contains(text, c.text) {
			t.Errorf("%s: %s %q, want %s with %q", what, code, text, c.code, c.text)
		}
	}
	if d.revision(t, "a/b") != 0 {
		t.Error("a refused request changed the record")
	}
}

func TestHandlersDoNotWaitForEachOther(t *testing.T) {
	d := open(t)
	var group sync.WaitGroup
	failed := make(chan error, 100)
	for i := range 100 {
		group.Go(func() {
			_, err := d.client.Apply(t.Context(), control.Apply{Name: credential.Name(fmt.Sprintf("a/k%d", i)), Spec: spec(time.Hour)})
			failed <- err
		})
	}
	group.Wait()
	for range 100 {
		must(t, <-failed)
	}
	if len(d.changed) != 100 {
		t.Errorf("%d of 100 registered", len(d.changed))
	}
}

func TestNobodyAnswers(t *testing.T) {
	conn, _ := natstest.Connect(t, natstest.Start(t).ClientURL())
	_, err := control.NewClient(conn, control.Identity{}).Limits(t.Context())
	if !errors.Is(err, control.ErrNoDaemon) || !strings.Contains(err.Error(), "keyturn serve") {
		t.Errorf("got %v, want ErrNoDaemon with a hint", err)
	}
}

func TestNATSMicroFindsTheService(t *testing.T) {
	d := open(t)
	reply, err := d.conn.RequestWithContext(t.Context(), "$SRV.INFO.keyturn", nil)
	must(t, err)
	var info micro.Info
	must(t, json.Unmarshal(reply.Data, &info))
	if info.Version != "1.2.3" || len(info.Endpoints) != 8 {
		t.Fatalf("info %+v", info)
	}
	for _, endpoint := range info.Endpoints {
		if !json.Valid([]byte(endpoint.Metadata["schema"])) {
			t.Errorf("endpoint %s has no schema", endpoint.Name)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"name":"a/b","spec":{"issuer":"portal"}}`))
	f.Add([]byte(`{"name":"a/b","request":"1","now":true}`))
	f.Add([]byte(`{"name":"a/b","fingerprint":"0123456789abcdef"}`))
	f.Add([]byte(`[]`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range control.DecodeForFuzz(data) {
			if _, err := credential.ParseName(string(name)); err != nil {
				t.Errorf("a request with the name %q was taken", name)
			}
		}
	})
}
