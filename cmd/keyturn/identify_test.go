package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// tap is a server in between that keeps all that passes.
type tap struct {
	addr string
	seen safeBuffer
}

func newTap(t *testing.T, to string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	p := &tap{addr: listener.Addr().String()}
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(io.MultiWriter(to, &p.seen), from)
				_ = to.Close()
			}
			go pass(out, in)
			go pass(in, out)
		}
	}()
	return p
}

// through has the configuration reach NATS and Vault through taps.
func (w *town) through(t *testing.T) (nats, vault *tap) {
	t.Helper()
	c := w.load(t)
	natsAddr, vaultAddr := strings.TrimPrefix(c.NATS.URL, "nats://"), strings.TrimPrefix(c.Vault.Addr, "http://")
	nats, vault = newTap(t, natsAddr), newTap(t, vaultAddr)
	w.change(t, natsAddr, nats.addr)
	w.change(t, vaultAddr, vault.addr)
	return nats, vault
}

// change writes the configuration anew, with one text for another.
func (w *town) change(t testing.TB, old, new string) {
	t.Helper()
	text, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("the configuration lacks %q", old)
	}
	if err := os.WriteFile(w.path, bytes.Replace(text, []byte(old), []byte(new), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestIdentify: living, dead and nobody's; the key goes nowhere.
func TestIdentify(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	w.settled(t, d.record, "maps/web", "maps/other")
	key := w.keys(t, "maps/web").Primary
	text := key.Secret.Reveal()
	nats, vault := w.through(t)
	began := time.Now()
	for _, in := range []string{text, text + "\n", text + "\r\n", "\ufeff" + text + "\n"} {
		w.keyturn(t, in, "identify").has(t, 0, "key "+string(key.Fingerprint)+" is the primary key of maps/web", "expires")
	}
	w.keyturn(t, text, "identify", "-o", "json").has(t, 0, `"living": true`, `"name": "maps/web"`)
	w.keyturn(t, text+"x", "identify").has(t, 1, "none of this installation's")
	for _, in := range []string{" " + text, text + " \n", text + "\t", `"` + text + `"`, "'" + text} { // which is ours
		w.keyturn(t, in, "identify").has(t, 2, "nothing around it")
	}
	calls := len(w.calls(began))
	wrong := w.keyturn(t, "", "identify", text)
	wrong.has(t, 2, "never from an argument", "shell's history")
	for in, want := range map[string]string{"": "there is no key", "\n": "there is no key", "a\nb\n": "more than one line", strings.Repeat("x", maxKey+1): "more than 64 KiB"} {
		w.keyturn(t, in, "identify").has(t, 2, want)
	}
	w.keyturn(t, text, "identify", "--reason", "x").has(t, 2, "--invalidate")
	w.keyturn(t, text, "identify", "--invalidate").has(t, 2, "--reason")
	if len(w.calls(began)) != calls {
		t.Error("the issuer was asked")
	}

	done := w.keyturn(t, text+"\n", "identify", "--invalidate", "--reason", "in a chat")
	done.has(t, 0, "request ", "key "+string(key.Fingerprint)+" (primary) is dead; applications have key")
	if w.works(key) {
		t.Error("it works")
	}
	w.keyturn(t, text, "identify").has(t, 0, "it was the", "key of maps/web and is dead since", "revoked", "in a chat")
	w.keyturn(t, text, "identify", "--invalidate", "--reason", "in a chat").has(t, 3, "is dead since")
	w.keyturn(t, text, "identify", "-o", "json").has(t, 0, `"living": false`, `"died_at"`)
	// half of it would be half of a secret
	for _, part := range []string{text, text[:len(text)/2], text[len(text)/2:]} {
		for name, tap := range map[string]*tap{"NATS": nats, "Vault": vault} {
			if strings.Contains(tap.seen.String(), part) {
				t.Errorf("the key went to %s", name)
			}
		}
		if strings.Contains(wrong.out+wrong.err+done.out+done.err, part) {
			t.Error("the key is printed")
		}
	}
	if !strings.Contains(nats.seen.String(), string(credential.TypeCompromised)) {
		t.Error("the tap of NATS hears nothing")
	}
}

// TestFunerals: a key died by the event after which it is on no seat.
func TestFunerals(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(1000*n), 0) }
	seat := func(slot int, key, over credential.Fingerprint) credential.Seat {
		return credential.Seat{SeatID: credential.SeatID{Item: "i", Slot: slot}, Role: credential.RoleDraining, Fingerprint: key, Over: over}
	}
	entry := func(n int, fact credential.Fact, seats ...credential.Seat) credential.Entry {
		return credential.Entry{Name: "a/b", Event: credential.Event{At: at(n), Fact: fact}, State: credential.State{Seats: seats}}
	}
	f := newFunerals([]credential.Fingerprint{"k1", "k2", "k3", "never"})
	for _, e := range []credential.Entry{
		entry(1, credential.Issued{}, seat(1, "k1", "")),
		entry(2, credential.Issued{}, seat(1, "k1", ""), seat(2, "k2", "")),
		entry(3, credential.Invalidated{How: credential.HowExpired}, seat(2, "k2", "")),
		entry(4, credential.StepClaimed{}, seat(2, "", "k2")), // it may be alive until the new one is proven
		entry(5, credential.Issued{}, seat(2, "k3", "")),
	} {
		if err := f.note(e); err != nil {
			t.Fatal(err)
		}
	}
	if d := f.found["k1"]; !d.At.Equal(at(3)) || d.How != "expired" || d.Seat.Slot != 1 {
		t.Errorf("k1: %+v", d)
	}
	if d := f.found["k2"]; !d.At.Equal(at(5)) || !strings.Contains(d.How, "generated over") {
		t.Errorf("k2: %+v", d)
	}
	if len(f.found) != 2 {
		t.Errorf("%+v", f.found)
	}
}
