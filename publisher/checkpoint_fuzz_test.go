package publisher

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzCheckpoint: whatever a file holds, it is read or refused; what was read is
// the same when it is written and read again, and holds together.
func FuzzCheckpoint(f *testing.F) {
	heads := []SubjectHead{{"keyturn.record.a.x", 2, Hash{1}}, {"keyturn.record.b.x", 3, Hash{2}}}
	for _, c := range []Checkpoint{
		{Schema: 1, At: time.Unix(1, 5).UTC(), Last: 3, Subjects: 2, Root: RootOf(slices.Values(heads)), Heads: heads},
		{Schema: 1, At: time.Unix(1, 5).UTC(), Last: 3, Subjects: 2, Root: RootOf(slices.Values(heads)), Signer: "U", Signature: "AA"},
		{Schema: 1, Root: RootOf(slices.Values([]SubjectHead{})), Heads: []SubjectHead{}},
		{Schema: 9, Root: RootOf(slices.Values(heads)), Heads: heads},
	} {
		text, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[:len(text)/2])
		f.Add(append(text, '{'))
	}
	f.Add([]byte(`{"schema":1,"heads":[{"hash":"zz"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := DecodeCheckpoint(data)
		if err != nil {
			return
		}
		if c.Heads != nil && (len(c.Heads) != c.Subjects || RootOf(slices.Values(c.Heads)) != c.Root) {
			t.Fatalf("heads that are not those of the root: %+v", c)
		}
		_ = c.Signed() // never panics
		text, err := json.Marshal(c)
		if err != nil {
			return // a year that JSON cannot say
		}
		again, err := DecodeCheckpoint(text)
		if err != nil && len(c.Heads) > 0 {
			t.Fatalf("written and read again: %v", err)
		}
		if err == nil && !cmp.Equal(c.At, again.At) {
			t.Fatalf("%v became %v", c.At, again.At)
		}
	})
}
