package strict

import (
	"strings"
	"testing"
	"time"
)

// FuzzDuration: a duration that is read is not negative, means what Go means by
// it where Go knows the units, and reads the same when it is written by Go.
func FuzzDuration(f *testing.F) {
	for _, text := range []string{"0", "90d", "2w", "1.5d", "1w1d1h1m1s", "250ms", "5µs", "-1d", "106751d24h", "0.0000000000000000001d", "99999999999999999999.5w", "1m1ms", "00d", "1d1", "d", "1e3d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			if d != 0 {
				t.Errorf("%q is %v beside the error %v", text, d, err)
			}
			return
		}
		if d < 0 {
			t.Errorf("%q is %v", text, d)
		}
		if std, err := time.ParseDuration(text); err == nil && std != d {
			t.Errorf("%q is %v, in Go %v", text, d, std)
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is %v, and %q is %v, %v", text, d, d.String(), again, err)
		}
	})
}

// FuzzDecode: whatever a file holds, it is decoded or refused, soon, and each
// problem has a place within the file.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		"texts: [a]\nmap: {k: v}\nlists: [[a], [b]]\ninner: {texts: []}", "a: &x [*x]\n<<: *x", "? [a]\n: b", "--- |\n t\n...\n%YAML 1.2\n---\nmap: 1", "inner: &a {<<: [*a, *a]}",
		"- - - -", "\ufeffmap: {? : }", "inner:\n\tx", "{,}", "!!map {a: b}", "map: {<<: {a: b}, a: c}", "inner: !x &y *y", "texts: >-\n\n a\n", "named: [{name: a}, {name: a}, *b, ~]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		begin := time.Now()
		docs, err := Documents("f", []byte(text))
		all := []error{err}
		for _, d := range docs {
			var s sample
			r := d.Decode(&s)
			all = append(all, r.Problems.Err())
			d.Has("texts")
			r.Addf("inner.texts[3]", "one more")
		}
		err = Join(all...)
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
		problems, _ := err.(Problems) //nolint:errorlint // nothing else is joined
		if err != nil && len(problems) == 0 {
			t.Fatalf("%T", err)
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
		for _, p := range problems {
			if p.Pos.File != "f" || p.Pos.Line > lines || p.Pos.Line > 0 && p.Pos.Column < 1 || p.Message == "" {
				t.Errorf("%v in a file of %d lines", p, lines)
			}
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Errorf("%q has a control character", err)
		}
	})
}
