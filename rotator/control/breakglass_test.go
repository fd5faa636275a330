package control_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// TestAFileCountsByItsSigner: whoever imports it, the signer must be a responder
// in the namespace.
func TestAFileCountsByItsSigner(t *testing.T) {
	s, ann := newSite(t)
	d := s.open(t, ann)
	d.declared("maps/none")
	who := newPerson(t)
	for _, test := range []struct {
		operator control.Operator
		want     string // what the refusal says; empty = it is taken
	}{
		{operator("bob", control.RoleRotator, "*"), "the file's signer: operator bob lacks the role responder in namespace maps"},
		{operator("bob", control.RoleResponder, "apps"), "lacks the role responder in namespace maps"},
		{operator("bob", control.RoleResponder, "maps"), ""},
	} {
		s.keys[who.Public()] = test.operator
		file, err := who.Seal(control.BreakGlass{
			ID: "x", Name: "maps/none", At: time.Now(), Reason: "leak",
			Keys: []control.BrokenKey{{Seat: credential.SeatID{Item: "i", Slot: 1}, Fingerprint: "0123456789abcdef", Dead: true}},
		})
		must(t, err)
		arguments, err := json.Marshal(control.Import{Name: "maps/none", File: string(file)})
		must(t, err)
		answer, code, text := d.send(t, ann.message(t, control.SubjectImport, body("r"+test.want[:min(3, len(test.want))], time.Now(), string(arguments))))
		switch {
		case test.want != "" && (code != control.CodeDenied || !strings.Contains(text, test.want)):
			t.Errorf("%+v: %s %s, want %q", test.operator, code, text, test.want)
		case test.want == "" && (code != "" || answer.Result != control.ResultUnchanged):
			t.Errorf("%+v: %s %s %+v", test.operator, code, text, answer)
		}
	}
}
