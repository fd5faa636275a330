package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/audit"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/vault"
)

// store is a client of the town's Vault.
func (w *town) store(t *testing.T) *vault.Client {
	t.Helper()
	store, err := openVault(w.load(t).Vault, 1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func (w *town) js(t *testing.T) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// register puts an event on the record, as a daemon does.
func register(t *testing.T, record *publisher.Record, name credential.Name) {
	t.Helper()
	event := credential.Event{ID: engine.NewID(), At: time.Now(), Actor: "test", Daemon: "d-test", Fact: credential.Held{Hold: credential.Hold{Reason: "test"}}}
	state := credential.State{Schema: credential.Schema, Name: name, Revision: 1}
	if _, err := record.Append(t.Context(), name, credential.Head{}, event, state); err != nil {
		t.Fatal(err)
	}
}

func verified(t *testing.T, w *town) *audit.Report {
	t.Helper()
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: w.js(t), Unchecked: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Verify(t.Context(), audit.Stream{Record: record}, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Errorf("not intact: %s", f)
	}
	return r
}

// TestASigningKeyIsReplacedWhileDaemonsRun: twice, and both daemons sign with the
// new key without a restart.
func TestASigningKeyIsReplacedWhileDaemonsRun(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	one, two := w.daemon(t), w.daemon(t)
	seen := map[string]bool{one.record.Signer().Public(): true}
	for round := range 2 {
		register(t, one.record, credential.Name(fmt.Sprintf("before/r%d", round)))
		var said strings.Builder
		if err := (setting{newSigner: true}).run(t.Context(), w.load(t), &said, "table"); err != nil {
			t.Fatal(err)
		}
		public := regexp.MustCompile(`U[A-Z2-7]{55}`).FindString(said.String())
		if public == "" || seen[public] {
			t.Fatalf("setup says %q", said.String())
		}
		seen[public] = true
		register(t, one.record, credential.Name(fmt.Sprintf("between/r%d", round))) // by whichever key it has
		for _, d := range []*resident{one, two} {
			d.rekey <- struct{}{} // as SIGHUP does; the timer is one of half a minute
			eventually(t, "the daemon signs with the new key", func() bool { return d.record.Signer().Public() == public })
			register(t, d.record, credential.Name(fmt.Sprintf("after/r%d-%s", round, d.id)))
		}
	}
	if r := verified(t, w); len(r.Signers) != 3 {
		t.Errorf("signers %+v", r.Signers)
	}
}

// TestAReplacementThatStopsGoesOn: after each step of it, daemons sign with a key
// that the record vouches for, and the next run finishes with the same key.
func TestAReplacementThatStopsGoesOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		announced bool
	}{{"after Vault has the next seed", false}, {"after the record vouches for it", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t, "", "")
			store := w.store(t)
			keys, err := store.SigningKeys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			current, err := publisher.NewSigner(keys.Current)
			if err != nil {
				t.Fatal(err)
			}
			var public string
			if keys.Next, public, err = publisher.GenerateSeed(); err != nil {
				t.Fatal(err)
			}
			if err := store.ReplaceSigningKeys(t.Context(), keys); err != nil {
				t.Fatal(err)
			}
			want := current.Public()
			if c.announced {
				next, err := publisher.NewSigner(keys.Next)
				if err != nil {
					t.Fatal(err)
				}
				if err := publisher.PublishSigner(t.Context(), w.js(t), next, "test", current); err != nil {
					t.Fatal(err)
				}
				want = public
			}
			d := w.daemon(t)
			if err := d.takeSigner(t.Context()); err != nil {
				t.Fatal(err)
			}
			if have := d.record.Signer().Public(); have != want {
				t.Errorf("the daemon signs with %s, want %s", have, want)
			}
			register(t, d.record, "team/maps")
			var said strings.Builder
			if err := (setting{newSigner: true}).run(t.Context(), w.load(t), &said, "table"); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said.String(), public) {
				t.Errorf("setup did not go on with %s: %s", public, said.String())
			}
			if now, err := store.SigningKeys(t.Context()); err != nil || now.Current != keys.Next || !now.Next.Empty() {
				t.Errorf("in Vault: %v, %v", now, err)
			}
			if err := d.takeSigner(t.Context()); err != nil || d.record.Signer().Public() != public {
				t.Errorf("the daemon: %v, %v", d.record.Signer(), err)
			}
			if r := verified(t, w); len(r.Signers) != 2 {
				t.Errorf("signers %+v", r.Signers)
			}
		})
	}
}

// TestDaemonsKeepCheckpoints: two daemons make one at a time, Vault has it, and a
// record that differs from it later is found.
func TestDaemonsKeepCheckpoints(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", ", checkpoint_every: 1s")
	one, two := w.daemon(t), w.daemon(t)
	store := w.store(t)
	count := func() int {
		all, err := store.Checkpoints(t.Context())
		if err != nil && !credential.IsClass(err, credential.ClassNotFound) {
			t.Fatal(err)
		}
		return len(all)
	}
	eventually(t, "the first checkpoint is in Vault", func() bool { return count() == 1 })
	for i := range 2 {
		before := count()
		register(t, one.record, credential.Name(fmt.Sprintf("team/k%d", i)))
		eventually(t, "the next one is there", func() bool { return count() > before })
	}
	// with nothing new, none is made: the last one says it all
	eventually(t, "the last one stands alone", func() bool {
		_, _, alone, err := one.record.LastCheckpoint(t.Context())
		return err == nil && alone
	})
	if err := two.keepCheckpoint(t.Context()); err != nil {
		t.Error(err)
	}
	said := one.logs.FilterMessage("checkpoint of the record").Len() + two.logs.FilterMessage("checkpoint of the record").Len()
	if r := verified(t, w); said != r.Checkpoints {
		t.Errorf("%d checkpoints on the record, %d logged", r.Checkpoints, said)
	}
	for _, d := range []*resident{one, two} {
		if err := d.end(); err != nil {
			t.Error(err)
		}
	}
	all, err := store.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, err := publisher.DecodeCheckpoint(all[0])
	if err != nil || !last.Signed() || last.Subjects < 4 {
		t.Errorf("the last one in Vault: %+v, %v", last, err)
	}
}

// TestACheckpointThatDidNotReachVaultIsStoredLater: its maker ended in between.
func TestACheckpointThatDidNotReachVaultIsStoredLater(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	store := w.store(t)
	keys, err := store.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := publisher.NewSigner(keys.Current)
	if err != nil {
		t.Fatal(err)
	}
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: w.js(t), Signer: signer, Installation: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := record.AppendCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.daemon(t)
	eventually(t, "Vault has it, byte for byte", func() bool {
		kept, _, err := store.LastCheckpoint(t.Context())
		return err == nil && string(kept) == string(text)
	})
}

// TestAuditCommands: over the stream and over files, with their exit codes.
func TestAuditCommands(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	register(t, d.record, "team/maps")
	eventually(t, "there is a checkpoint", func() bool {
		kept, _, err := w.store(t).LastCheckpoint(t.Context())
		return err == nil && kept != nil
	})
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
	env := []string{"KEYTURN_CONFIG=" + w.path}
	dir := t.TempDir()
	saved := func(name string, args ...string) string {
		t.Helper()
		output, code := call(t, env, args...)
		if code != 0 {
			t.Fatalf("%v: exit %d: %s", args, code, output)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(output), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	export := saved("export", "audit", "export")
	checkpoint := saved("checkpoint", "audit", "checkpoint")
	text, err := os.ReadFile(export)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(dir, "changed")
	torn := filepath.Join(dir, "torn")
	for path, content := range map[string]string{
		changed: strings.Replace(string(text), `"ce-id":["`, `"ce-id":["0`, 2), torn: string(text[:len(text)-20]),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"audit verify", 0, "intact: 3 events on 3 subjects"},
		{"audit verify --checkpoint vault", 0, "2 checkpoints that hold"},
		{"audit verify --checkpoint " + checkpoint, 0, "2 checkpoints that hold"},
		{"audit verify --file " + export + " --checkpoint " + checkpoint, 0, "intact: 3 events"},
		{"audit verify --since 1h --name team/maps", 0, "intact"},
		{"audit verify --file " + changed, 1, "NOT INTACT"},
		{"audit verify --file " + torn, 1, "torn: line "},
		{"audit verify --root " + d.record.Signer().Public(), 0, "intact"},
		{"audit verify --root " + strings.Repeat("U", 56), 1, "nobody vouches"},
		{"audit verify --root me", 2, "--root me"},
		{"audit verify --since yesterday", 2, "--since yesterday"},
		{"audit verify --name maps", 2, "maps"},
		{"audit verify --since 1h --checkpoint vault", 2, "covers the whole record"},
		{"audit verify --checkpoint " + export, 1, "not a checkpoint"},
		{"audit verify extra", 2, "extra"},
		{"audit export --format xml", 2, "want jsonl"},
	} {
		output, code := call(t, env, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(output, c.want) {
			t.Errorf("%s: exit %d, want %d with %q: %s", c.args, code, c.code, c.want, output)
		}
	}
	output, code := call(t, env, "audit", "verify", "--file", changed, "-o", "json")
	var report audit.Report
	if err := json.Unmarshal([]byte(output), &report); err != nil || code != 1 || report.Intact || len(report.Findings) == 0 {
		t.Errorf("as JSON: exit %d, %v: %s", code, err, output)
	}
	// offline, with no configuration at all
	if output, code := call(t, []string{"KEYTURN_CONFIG="}, "audit", "verify", "--file", export); code != 0 || !strings.Contains(output, "no root is pinned") {
		t.Errorf("offline: exit %d: %s", code, output)
	}
}
