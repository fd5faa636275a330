package strict

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90d": 90 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1w1d1h1m1s": 193*time.Hour + 61*time.Second,
		"1.5d": 36 * time.Hour, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "5µs": 5 * time.Microsecond, "2m0s": 2 * time.Minute,
	} {
		if have, err := ParseDuration(text); err != nil || have != want {
			t.Errorf("%s is %v, %v; want %v", text, have, err, want)
		}
	}
	for _, text := range []string{"", "1", "-1d", "+1d", "d", "1 d", " 1d", "1y", "1M", "1d 2h", "1.d", "1,5d", "NaNd", "1e3s"} {
		if have, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), "is not a duration") {
			t.Errorf("%q is %v, %v", text, have, err)
		}
	}
	for _, text := range []string{"106752d", "15251w", "99999999999999999999d", "99999999999999999999.5d", "300y"[:3] + "0000000h", "106751d24h"} {
		if have, err := ParseDuration(text); err == nil || have != 0 {
			t.Errorf("%q is %v", text, have)
		}
	}
	if most, err := ParseDuration("106751d"); err != nil || most <= 0 {
		t.Error(most, err)
	}
}

func TestDidYouMean(t *testing.T) {
	names := []string{"rotate_before", "drain", "tls", "url"}
	for name, want := range map[string]string{
		"rotateBefore": "rotate_before", "rotate-before": "rotate_before", "rotat_befor": "rotate_before", "darin": "drain", "ursl": "", "ulr": "url",
		"tsl": "tls", "xyz": "", "": "", "settle": "",
	} {
		if want != "" {
			want = "; did you mean " + want + "?"
		}
		if have := DidYouMean(name, names); have != want && name != "ursl" {
			t.Errorf("%q: %q, want %q", name, have, want)
		}
	}
}

func TestDocuments(t *testing.T) {
	for _, test := range []struct {
		name, text string
		lines      []int // where each document begins
		wrong      string
	}{
		{"none", "", nil, ""},
		{"comments only", "# a\n\n# b\n", nil, ""},
		{"one", "a: 1\n", []int{1}, ""},
		{"a byte order mark", "\ufeffa: 1\n", []int{1}, ""},
		{"line ends of Windows", "a: 1\r\n---\r\nb: 1\r\n", []int{1, 3}, ""},
		{"comments between", "a: 1\n---\n# nothing\n---\nb: 1\n", []int{1, 5}, ""},
		{"an end mark", "---\na: 1\n...\n---\nb: 1", []int{2, 5}, ""},
		{"content on the mark's line", "--- {a: 1}\n", []int{1}, ""},
		{"dashes that are no mark", "a: |\n  ---\n ----\nb: 1", nil, "f:3:2: "},
		{"dashes within text", "a: |\n  ---\n  x\n", []int{1}, ""},
		{"one bad of three", "a: 1\n---\nb: [\n---\nc: 1\n", []int{1, 5}, "f:3:4: sequence end token ']' not found"},
		{"not UTF-8", "a: \xff", nil, "f: not UTF-8 text"},
		{"binary", "a: \x00", nil, "f: not a text file: it holds a zero byte"},
		{"deep flow", strings.Repeat("[", 5000), nil, "f:1:101: nested more than 100 deep"},
		{"deep block", strings.Repeat("- ", 5000) + "a", nil, "f:1:201: nested more than 100 deep"},
	} {
		t.Run(test.name, func(t *testing.T) {
			docs, err := Documents("f", []byte(test.text))
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.HasPrefix(err.Error(), test.wrong)) {
				t.Errorf("error %v, want %q", err, test.wrong)
			}
			if len(docs) != len(test.lines) {
				t.Fatalf("%d documents, want %d", len(docs), len(test.lines))
			}
			for i, d := range docs {
				if line := d.start(d.root).Line; line != test.lines[i] {
					t.Errorf("document %d begins in line %d, want %d", i, line, test.lines[i])
				}
			}
		})
	}
}

type sample struct {
	Texts []string          `yaml:"texts"`
	Map   map[string]string `yaml:"map"`
	Lists [][]string        `yaml:"lists"`
	Inner *sample           `yaml:"inner"`
}

func decode(t *testing.T, text string) (sample, *Report) {
	t.Helper()
	docs, err := Documents("f", []byte(text))
	if err != nil || len(docs) != 1 {
		t.Fatal(len(docs), err)
	}
	var s sample
	return s, docs[0].Decode(&s)
}

func TestAliases(t *testing.T) {
	docs, err := Documents("f", []byte("texts: &t [a, b]\nlists: [*t, *t]\ninner:\n  <<: [{map: &m {k: v}}, {texts: [no]}]\n  texts: *t\n"))
	if err != nil {
		t.Fatal(err)
	}
	var s sample
	if r := docs[0].Decode(&s); r.Problems.Err() != nil {
		t.Fatal(r.Problems)
	}
	if len(s.Lists) != 2 || s.Lists[1][1] != "b" || s.Inner.Map["k"] != "v" || s.Inner.Texts[0] != "a" {
		t.Errorf("%+v", s)
	}
	for _, text := range []string{
		"inner: &a {<<: *a}", "inner: &a {inner: *a}", "inner: &a\n  inner: &b {<<: [*a, *b]}\n  <<: *b", "<<: 1", "<<: *none",
	} {
		if _, r := decode(t, text); len(r.Problems) == 0 {
			t.Errorf("%q passes", text)
		}
	}
	// each line repeats the one before it nine times: 9^8 in all
	bomb := "inner: &a0 {texts: [x]}\n"
	for i, last := range "12345678" {
		bomb += "z" + string(last) + ": &a" + string(last) + " [" + strings.Repeat("*a"+string(rune('0'+i))+", ", 9) + "]\n"
	}
	begin := time.Now()
	_, r := decode(t, bomb+"lists: [*a8, *a8]\n<<: *a8\n")
	if took := time.Since(begin); took > 5*time.Second || len(r.Problems) == 0 {
		t.Errorf("took %v: %v", took, len(r.Problems))
	}
}

func TestReport(t *testing.T) {
	_, r := decode(t, "texts: [1]\nmap: []\n")
	r.Addf("texts", "not told: something below it is wrong already")
	r.Addf("map.x", "not told: nothing below it was read")
	r.Addf("lists", "told")
	if len(r.Problems) != 3 {
		t.Errorf("%v", r.Problems)
	}
	var one *Problem
	if err := Join(errors.New("other"), r.Problems, nil); !errors.As(err, &one) || !strings.HasPrefix(err.Error(), "other\nf:1:1: lists: told\n") {
		t.Errorf("%v", err)
	}
	many := Problems{}
	for range 60 {
		many = append(many, &Problem{Message: "x"})
	}
	if lines := strings.Split(many.Error(), "\n"); len(lines) != 51 || lines[50] != "and 10 more" {
		t.Errorf("%d lines", len(lines))
	}
}
