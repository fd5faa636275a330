package control_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

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
	message := d.request("r-1", control.SubjectRotate, `{"name":"maps/web","reason":"leaver","now":true}`)
	for i := range 2 {
		answer := d.ask(t, message)
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
		c.body = strings.Replace(c.body, `"request":"1"`, fmt.Sprintf(`"request":%q`, strings.ReplaceAll(what, " ", "-")), 1)
		body := strings.Replace(c.body, `"request"`, fmt.Sprintf(`"installation":"test","at":%q,"request"`, time.Now().Format(time.RFC3339)), 1)
		reply, err := d.conn.RequestMsgWithContext(t.Context(), d.identity.message(t, c.subject, []byte(body)))
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
	_, err := control.NewClient(conn, newPerson(t).Identity).Limits(t.Context())
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
	if info.Version != "1.2.3" || len(info.Endpoints) != 15 {
		t.Fatalf("info %+v", info)
	}
	schemas := map[string]string{}
	for _, endpoint := range info.Endpoints {
		schemas[endpoint.Name] = endpoint.Metadata["schema"]
		if !json.Valid([]byte(endpoint.Metadata["schema"])) {
			t.Errorf("endpoint %s has no schema", endpoint.Name)
		}
		for what, want := range map[string]string{
			"rotate": `"accept_vault":{"type":"integer"}`, "hold": `"required":["name","reason"]`, "invalidate": `"immediately":{"type":"boolean"}`,
			"apply": `"lifetime":{"type":"string"}`, "freeze": `"until":{"format":"date-time","type":"string"}`,
		} {
			if what == endpoint.Name && !strings.Contains(endpoint.Metadata["schema"], want) {
				t.Errorf("the schema of %s lacks %s: %s", what, want, endpoint.Metadata["schema"])
			}
		}
	}
	for field, endpoint := range map[string]string{
		`"accept_vault":{"type":"integer"}`: "invalidate", `"override_hold":{"type":"boolean"}`: "import", `"until":{"format":"date-time","type":"string"}`: "hold",
		`"lifetime":{"type":"string"}`: "apply", `"privileges":{"items":{"type":"string"},"type":"array"}`: "apply",
	} {
		if !strings.Contains(schemas[endpoint], field) {
			t.Errorf("the schema of %s lacks %s: %s", endpoint, field, schemas[endpoint])
		}
	}
}

// TestStatisticsTellOfRefusals: those of the framework do not.
func TestStatisticsTellOfRefusals(t *testing.T) {
	d := open(t)
	d.declared("maps/web")
	for _, name := range []credential.Name{"maps/web", "maps/none"} {
		_, err := d.client.Hold(t.Context(), control.Hold{Name: name, Reason: "audit"})
		if (err != nil) != (name == "maps/none") {
			t.Fatalf("%s: %v", name, err)
		}
	}
	_, err := d.conn.Request(control.SubjectConsumer+"shop", []byte("{}"), 10*time.Second)
	must(t, err)
	reply, err := d.conn.RequestWithContext(t.Context(), "$SRV.STATS.keyturn", nil)
	must(t, err)
	var stats micro.Stats
	must(t, json.Unmarshal(reply.Data, &stats))
	want := map[string]control.Stats{"hold": {Answered: 2, Refused: 1}, "apply": {Answered: 1}, "consumer-ack": {Answered: 1, Refused: 1}}
	for _, e := range stats.Endpoints {
		var got control.Stats
		must(t, json.Unmarshal(e.Data, &got))
		if (got.ProcessingTime > 0) != (got.Answered > 0) {
			t.Errorf("%s: %+v", e.Name, got)
		}
		got.ProcessingTime = 0
		if got != want[e.Name] {
			t.Errorf("%s: %+v, want %+v", e.Name, got, want[e.Name])
		}
	}
}
