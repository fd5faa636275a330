package publisher

import (
	"errors"
	"testing"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
)

func TestANewRootIsBelievedByThoseWhoPinIt(t *testing.T) {
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(Setup(t.Context(), js, 1))
	has := func(want bool) {
		t.Helper()
		if got, err := HasSigner(t.Context(), js); err != nil || got != want {
			t.Fatalf("a signer is there: %v, %v; want %v", got, err, want)
		}
	}
	has(false)
	signers := make([]*Signer, 2)
	for i := range signers {
		seed, _, err := GenerateSeed()
		must(err)
		signers[i], err = NewSigner(seed)
		must(err)
	}
	must(PublishSigner(t.Context(), js, signers[0], "test", nil))
	has(true)
	if err := PublishSigner(t.Context(), js, signers[1], "test", nil); err == nil {
		t.Fatal("a second signer without a predecessor")
	}
	must(PublishRoot(t.Context(), js, signers[1], "test"))
	must(PublishRoot(t.Context(), js, signers[1], "test"))
	open := func(root string, signer *Signer) *Record {
		r, err := Open(t.Context(), Config{JetStream: js, Signer: signer, Installation: "test", Root: root})
		must(err)
		return r
	}
	r := open(signers[1].Public(), signers[1])
	event := credential.Event{ID: "e1", At: at(0), Actor: "a", Daemon: "d", Fact: credential.Registered{Spec: goldenSpec()}}
	after := credential.Evolve(credential.State{}, event)
	after.Name = "team/maps"
	head, err := r.Append(t.Context(), "team/maps", credential.Head{}, event, after)
	must(err)
	must(r.Verify(t.Context(), "team/maps", head))
	for _, root := range []string{"", signers[0].Public()} {
		if err := open(root, signers[0]).Verify(t.Context(), "team/maps", head); !errors.Is(err, ErrUntrusted) {
			t.Errorf("pin %q believes the new root: %v", root, err)
		}
	}
}
