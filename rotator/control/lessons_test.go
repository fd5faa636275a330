package control_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestLesson15TheIssuerOfACredentialDoesNotChangeUnderARotation: a rotation that
// was begun at one issuer could not be ended at another.
func TestLesson15TheIssuerOfACredentialDoesNotChangeUnderARotation(t *testing.T) {
	d := open(t)
	const name = credential.Name("maps/moved")
	elsewhere := spec(time.Hour)
	elsewhere.Issuer = "elsewhere"
	event, err := credential.Decide(credential.State{}, credential.Register{Spec: elsewhere, Actor: "ann"}, credential.View{Now: time.Now(), Daemon: "d-test", ID: engine.NewID()})
	must(t, err)
	after := credential.Evolve(credential.State{}, event)
	after.Name = name
	_, err = d.record.Append(t.Context(), name, credential.Head{}, event, after)
	must(t, err)
	for _, dry := range []bool{true, false} {
		_, err = d.client.Apply(t.Context(), control.Apply{Name: name, Spec: spec(time.Hour), DryRun: dry})
		var no *control.Refusal
		if !errors.As(err, &no) || no.Code != control.CodeBad || !strings.Contains(no.Text, "stays with its issuer") {
			t.Errorf("dry run %v: %v, want a refusal", dry, err)
		}
	}
	if got := d.revision(t, name); got != 1 {
		t.Errorf("revision %d after a refused change", got)
	}
}
