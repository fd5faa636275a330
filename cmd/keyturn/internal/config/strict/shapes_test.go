package strict

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/credential"
)

// shapes has a field of each kind that a file can hold.
type shapes struct {
	Named  map[string]shape  `yaml:"named,named"`
	Labels map[string]string `yaml:"labels"`
	Secret credential.Secret `yaml:"secret"`
	Text   string            `yaml:"text"`
	Number float64           `yaml:"number"`
	Time   Duration          `yaml:"time"`
	Other  uint8             `yaml:"other"`
}

type shape struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind,required" enum:"round square"`
}

func TestShapes(t *testing.T) {
	const unnamed = "an alias for which there is no anchor: put the value in quotes if it is text"
	for _, test := range []struct{ text, want string }{
		{"named: {a: {kind: round}, b: {kind: square, name: b}}", ""},
		{"named: [{name: a, kind: round}, &b {name: b, kind: square}]", ""},
		{"named:\nlabels:\ntext:\nnumber: ~\ntime: null", ""},
		{"labels:\n  1: a\n  1.5: b\n  true: c\n  ~: d\n  ? e\n  : f\n  'g': |\n    h\n  i: >-\n", ""},
		{"number: 0x10", "f:1:9: number: want a decimal number; got a number"},
		{"named: x", "f:1:8: named: want a mapping from names, or a list; got text"},
		{"named: *x", "f:1:1: named: " + unnamed},
		{"named: {a: *x}", "f:1:12: named.a: " + unnamed},
		{"named: [*x, x, ~, {kind: round}]", "f:1:9: named[0]: name is missing\nf:1:13: named[1]: name is missing\nf:1:16: named[2]: name is missing\nf:1:19: named[3]: name is missing"},
		{"named: {a: ~, b: {kind: round, name: c}}", `f:1:9: named.a: missing` + "\n" + `f:1:38: named.b.name: "c" is not the key "b" that it stands under`},
		{"named: {a: {kind: ''}}", "f:1:19: named.a.kind: empty"},
		{"named: {a: {kind: ~}}", "f:1:13: named.a.kind: missing"},
		{"named: {a: {kind: [round]}}", "f:1:19: named.a.kind: want text; got a list"},
		{"named: {a: {kind: rond}}", `f:1:19: named.a.kind: "rond" is not one of round, square; did you mean round?`},
		{"named: {a: {kind: round, " + strings.Repeat("x", 50) + ": 1}}", `f:1:26: named.a: unknown field "` + strings.Repeat("x", 40) + `…"; there are name, kind`},
		{"named: {a: {kind: round, kind: round}}", "f:1:26: named.a: the same key stands here twice"},
		{"labels: {? {a: b} : c}", "f:1:19: found an invalid key for this map"},
		{"labels: {a: [b]}", "f:1:13: labels.a: want text; got a list"},
		{"text: 0123", "f:1:7: text: want text; got a number: put it in quotes"},
		{"text: 2026-01-10", ""},
		{"text: {a: b}", "f:1:7: text: want text; got a mapping: put it in quotes"},
		{"number: .inf", "f:1:9: number: want a decimal number; got one without a value"},
		{"time: true", "f:1:7: time: want a duration such as 90d, 12h or 30s; got true or false"},
		{"time: 5", `f:1:7: time: "5" is not a duration: want a number with a unit, such as 90d, 12h or 30s`},
		{"other: 5", "f:1:8: other: this field cannot be read from a file"},
		{"text: &a *a", "f:1:10: unexpected scalar value type"},
		{strings.Repeat("x", 50) + ": 1", "f:1:1: unknown field; there are named, labels, secret, text, number, time, other"},
	} {
		docs, err := Documents("f", []byte(test.text))
		if err == nil {
			var s shapes
			err = docs[0].Decode(&s).Problems.Err()
		}
		have := ""
		if err != nil {
			have = err.Error()
		}
		if diff := cmp.Diff(test.want, have); diff != "" {
			t.Errorf("%q: %s", test.text, diff)
		}
	}
}
