package recovery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/recovery"
)

// TestABackupOfVaultIsReissuedAndAForeignSecretIsNot: an older version whose key
// is dead counts as lost; what somebody else wrote does not.
func TestABackupOfVaultIsReissuedAndAForeignSecretIsNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []credential.Name{"maps/stale", "maps/hand", "maps/fine"} {
		w.make(t, name, shortLead)
	}
	backup := w.read(t, "maps/stale")
	w.rotate(t, "maps/stale", ended(2))
	fine := w.read(t, "maps/fine")
	w.newVault(t)
	for _, s := range []credential.Stored{backup, fine} { // restored, with other versions than before
		name := credential.Name("maps/stale")
		if s.Primary.Fingerprint == fine.Primary.Fingerprint {
			name = "maps/fine"
		}
		_, err := w.store.Write(t.Context(), name, s.Document, 0)
		must(t, err)
	}
	w.vault.Do(t, "secret/data/keyturn/maps/hand", map[string]any{"data": map[string]any{"api_key": "by hand"}})
	if w.portal.KeyWorks(backup.Primary.Secret.Reveal(), "") {
		t.Fatal("the key of the backup is not dead")
	}
	var asked []credential.Name
	results := w.reissue(t, 60*time.Second, &asked)
	if len(results) != 2 || slices.Contains(asked, "maps/hand") || slices.Contains(asked, "maps/fine") {
		t.Errorf("asked for %v: %+v", asked, results)
	}
	for _, r := range results {
		switch r.Name {
		case "maps/stale":
			if key := w.read(t, r.Name).Primary; !r.Done || r.Loss != recovery.LossStale || !w.portal.KeyWorks(key.Secret.Reveal(), "") {
				t.Errorf("%+v", r)
			}
		case "maps/hand":
			if r.Done || r.Loss != recovery.LossForeign || !strings.Contains(r.Why, "somebody else") || w.read(t, r.Name).Version != 1 {
				t.Errorf("%+v", r)
			}
		}
	}
}

// script is a record, a daemon and a Vault that do what a test says.
type script struct {
	asked  chan credential.Name
	refuse error
	vault  credential.Stored
	// play tells events of the record after each request.
	play func(n int, tell func(credential.Entry))
	end  error // how the watch ends
}

func (s *script) Rotate(_ context.Context, lost recovery.Lost, _ string) error {
	s.asked <- lost.Name
	return s.refuse
}

func (s *script) Watch(ctx context.Context, _ uint64, each func(credential.Entry)) error {
	if s.end != nil {
		return s.end
	}
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.asked:
			if s.play != nil {
				s.play(n, each)
			}
		}
	}
}

func (s *script) Read(context.Context, credential.Name) (credential.Stored, error) {
	return s.vault, nil
}
func (s *script) List(context.Context) ([]credential.Name, error) { return nil, nil }
func (s *script) Load(context.Context, credential.Name) (credential.State, credential.Head, error) {
	return scripted(), credential.Head{}, nil
}
func (s *script) Append(context.Context, credential.Name, credential.Head, credential.Event, credential.State) (credential.Head, error) {
	return credential.Head{}, errors.New("nothing is appended here")
}

// scripted is a credential with one key.
func scripted() credential.State {
	return credential.State{
		Name: "maps/one", Status: credential.StatusRegistered, Revision: 9, Generation: 1, Mint: 1,
		Seats: []credential.Seat{{SeatID: credential.SeatID{Item: "i", Slot: 1}, Role: credential.RolePrimary, Fingerprint: "fp-1", Mint: 1, Expires: time.Now().Add(time.Hour)}},
	}
}

// stops is the event of a daemon that stopped at a finding.
func stops(kind credential.FindingKind) credential.Entry {
	return credential.Entry{Name: "maps/one", State: scripted(), Event: credential.Event{Fact: credential.Drifted{
		Finding: credential.Finding{Kind: kind, Detail: "the secret is gone"},
	}}}
}

// TestAReissueSaysWhyItIsNotDone: each end that is not the wished one.
func TestAReissueSaysWhyItIsNotDone(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		script script
		asked  int
		words  string
	}{
		"no daemon": {script{refuse: errors.New("nobody answers"), vault: credential.Stored{Missing: true}}, 1, "could not be asked for: nobody answers"},
		"it stops again and again": {script{vault: credential.Stored{Missing: true}, play: func(_ int, tell func(credential.Entry)) {
			tell(stops(credential.FindingVaultMissing))
		}}, 4, "stops again and again at: the secret is gone"},
		"somebody writes meanwhile": {script{vault: credential.Stored{Missing: true}, play: nil}, 1, "somebody else wrote version 3"},
		"the time is up":            {script{vault: credential.Stored{Missing: true}}, 1, "not done in time: it is asked for and has not begun"},
		"the time is up, failing": {script{vault: credential.Stored{Missing: true}, play: func(_ int, tell func(credential.Entry)) {
			e := credential.Entry{Name: "maps/one", State: scripted(), Event: credential.Event{Fact: credential.Failed{}}}
			e.State.Failure = &credential.Failure{Attempts: 3, Step: credential.StepIssue, Message: "the portal is down"}
			tell(e)
		}}, 1, "attempt 3 at issue failed: the portal is down"},
		"the record is away": {script{vault: credential.Stored{Missing: true}, end: errors.New("no stream")}, 1, "could not be followed: no stream"},
	} {
		s := c.script
		s.asked = make(chan credential.Name, 10)
		lost, err := recovery.FindLost(t.Context(), &s, &s, []credential.State{scripted()}, 1)
		must(t, err)
		if what == "somebody writes meanwhile" {
			s.play = func(_ int, tell func(credential.Entry)) {
				s.vault = credential.Stored{Version: 3, Document: credential.Document{Primary: credential.Key{Secret: credential.NewSecret("x")}}}
				tell(stops(credential.FindingVaultChanged))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		asked := 0
		results := (&recovery.Reissue{
			Rotator: count{&s, &asked}, Watcher: &s, Secrets: &s,
		}).Run(ctx, lost)
		cancel()
		if len(results) != 1 || results[0].Done || !strings.Contains(results[0].Why, c.words) || asked != c.asked {
			t.Errorf("%s: asked %d times: %+v", what, asked, results)
		}
	}
}

// count counts requests. Run asks one at a time.
type count struct {
	*script
	n *int
}

func (c count) Rotate(ctx context.Context, lost recovery.Lost, reason string) error {
	*c.n++
	return c.script.Rotate(ctx, lost, reason)
}

// TestARotationUnderWayIsNoLoss: record and Vault move one after the other.
func TestARotationUnderWayIsNoLoss(t *testing.T) {
	t.Parallel()
	promoted := func(s *credential.State) {
		s.Revision++
		s.Seats[0].Fingerprint = "fp-2"
	}
	in := func(fp string) credential.Stored {
		return credential.Stored{Version: 5, Document: credential.Document{Revision: 8, Primary: credential.Key{Secret: credential.NewSecret(fp), Fingerprint: credential.Fingerprint(fp)}}}
	}
	// Vault was promoted, and the record too since it was read
	m := &moving{script: script{vault: in("fp-2")}, then: promoted}
	if lost, err := recovery.FindLost(t.Context(), m, m, []credential.State{scripted()}, 1); err != nil || len(lost) > 0 {
		t.Errorf("promoted meanwhile: %+v, %v", lost, err)
	}
	// the candidate is promoted in Vault, the event is not appended yet
	s := scripted()
	s.Seats = append(s.Seats, credential.Seat{SeatID: s.Seats[0].Sibling(), Role: credential.RoleCandidate, Fingerprint: "fp-2"})
	m = &moving{script: script{vault: in("fp-2")}}
	if lost, err := recovery.FindLost(t.Context(), m, m, []credential.State{s}, 1); err != nil || len(lost) > 0 {
		t.Errorf("being promoted: %+v, %v", lost, err)
	}
	// no first key yet: nothing that could be lost
	s.Seats = s.Seats[1:]
	m = &moving{script: script{vault: credential.Stored{Missing: true}}}
	if lost, err := recovery.FindLost(t.Context(), m, m, []credential.State{s}, 1); err != nil || len(lost) > 0 {
		t.Errorf("no key yet: %+v, %v", lost, err)
	}
}

// moving is a record that has moved on when it is read again.
type moving struct {
	script
	then func(*credential.State)
}

func (m *moving) Load(context.Context, credential.Name) (credential.State, credential.Head, error) {
	s := scripted()
	if m.then != nil {
		m.then(&s)
	}
	return s, credential.Head{}, nil
}
