package main

import (
	"testing"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestASecondLeakIsActedOn though it has the reason of the first, once the successor
// of what died then is gone, too: that one was never meant. Until then the same command
// goes on with the first leak, and says how to mean another key.
func TestASecondLeakIsActedOn(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	d := w.daemon(t)
	const name = credential.Name("apps/a")
	w.settled(t, d.record, name, "apps/b")
	leak := []string{"invalidate", string(name), "--key", "primary", "--reason", "in a public repository"}
	first := w.keys(t, name).Primary
	w.hush()
	w.keyturn(t, "", append(leak, "--timeout", "1s")...).has(t, 1, "not done")
	w.keyturn(t, "", append(leak, "--timeout", "1s")...).has(t, 1, "not done")
	w.speak()
	eventually(t, "the first leak is over", func() bool { return !w.states(t, d.record)[name].Emergency() })
	second := w.keys(t, name).Primary
	if w.works(first) || !w.works(second) {
		t.Fatalf("the first key works: %v, the second: %v", w.works(first), w.works(second))
	}
	w.keyturn(t, "", leak...).has(t, 3, "another --reason")
	if !w.works(second) {
		t.Fatal("the successor was hit")
	}
	w.keyturn(t, "", "rotate", string(name), "--now", "--reason", "test").has(t, 0)
	eventually(t, "a later key is there", func() bool { return w.states(t, d.record)[name].Generation == 3 })
	second = w.keys(t, name).Primary
	w.keyturn(t, "", leak...).has(t, 0, string(second.Fingerprint)+" (primary) is dead")
	third := w.keys(t, name).Primary
	if w.works(second) || !w.works(third) {
		t.Errorf("the second key works: %v, the third: %v", w.works(second), w.works(third))
	}
	// with several, a successor is spared, and what came later is not
	several := []string{"invalidate", "--namespace", "apps", "--key", "primary", "--reason", "in a public repository"}
	w.keyturn(t, "", several...).has(t, 0, "1 done, 1 already", "for the same reason")
	w.keyturn(t, "", several...).has(t, 3, "0 done, 2 already")
	if !w.works(third) {
		t.Error("the successor was hit")
	}
	w.keyturn(t, "", "rotate", string(name), "--now", "--reason", "test").has(t, 0)
	eventually(t, "a later key is there", func() bool { return w.states(t, d.record)[name].Generation == 5 })
	fourth := w.keys(t, name).Primary
	w.keyturn(t, "", several...).has(t, 0, "1 done, 1 already")
	if w.works(fourth) {
		t.Error("a key that came later works")
	}
}
