package publisher

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenBodies is the data of each golden file.
func goldenBodies(t testing.TB) [][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var all [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, unmarshalGolden(t, text).Data)
	}
	return all
}

// TestFastPathIsTaken fails when a type comes into the state that the fast path
// does not know, which would be right but slow.
func TestFastPathIsTaken(t *testing.T) {
	for _, data := range goldenBodies(t) {
		var b body
		if !fastUnmarshal(data, &b) {
			t.Errorf("the fast path gives up on %s", data)
		}
	}
}

// agree fails when the fast path reads something else than encoding/json.
func agree(t *testing.T, data []byte) {
	t.Helper()
	var fast, standard body
	if !fastUnmarshal(data, &fast) {
		if !reflect.DeepEqual(fast, body{}) {
			t.Errorf("the fast path gave up and left something behind for %s", data)
		}
		return
	}
	if !json.Valid(fast.Fact) && len(fast.Fact) > 0 {
		return // read by encoding/json later, which refuses it
	}
	if err := json.Unmarshal(data, &standard); err != nil {
		t.Errorf("the fast path reads what encoding/json refuses (%v): %s", err, data)
		return
	}
	if !reflect.DeepEqual(standard, fast) {
		t.Errorf("the fast path differs for %s (-encoding/json +fast):\n%s", data, cmp.Diff(standard, fast))
	}
}

func FuzzFastPath(f *testing.F) {
	for _, data := range goldenBodies(f) {
		f.Add(data)
	}
	for _, text := range hardTexts() {
		f.Add([]byte(text))
	}
	f.Fuzz(agree)
}

// hardTexts are what a hasty reader gets wrong.
func hardTexts() []string {
	return []string{
		``, `{}`, `{} `, ` {}`, `null`, `[]`, `{"schema":1`, `{"schema":1}}`, `{"schema":1,}`, `{"schema":1 }`,
		`{"schema":01}`, `{"schema":1.5}`, `{"schema":1e2}`, `{"schema":-1}`, `{"schema":-}`, `{"schema":-0}`,
		`{"schema":9223372036854775807}`, `{"schema":99999999999999999999}`, `{"schema":"1"}`, `{"schema":null}`,
		`{"Schema":1}`, `{"schema":1,"schema":2}`, `{"unknown":1}`, `{"sch\u0065ma":1}`,
		`{"actor":"a\"b\\c\u00e9\ud83d\ude00"}`, `{"actor":"é"}`, "{\"actor\":\"\xff\"}", "{\"actor\":\"a\nb\"}", `{"actor":"\x"}`, `{"actor":"a`, `{"actor":"a\`,
		`{"fact":{}}`, `{"fact":{"a":"}"}}`, `{"fact":{"a":[1,{"b":"\"}"}]}}`, `{"fact":{]}`, `{"fact":null}`, `{"fact":1}`, `{"fact":{"a":}}`, `{"fact":{"a"`,
		`{"state":{"due":"2026-03-01T12:00:00Z"}}`, `{"state":{"due":"2026-03-01T12:00:00.5+02:00"}}`, `{"state":{"due":"2026-13-01T12:00:00Z"}}`, `{"state":{"due":""}}`, `{"state":{"due":1}}`,
		`{"state":{"seats":[]}}`, `{"state":{"seats":[{}]}}`, `{"state":{"seats":[{"item":"x","slot":1,"role":"primary","mint":1},{"item":"y","slot":2}]}}`, `{"state":{"seats":[{},]}}`, `{"state":{"seats":null}}`, `{"state":{"seats":[null]}}`,
		`{"state":{"seats":[{"slot":300}]}}`, `{"state":{"mint":-1}}`, `{"state":{"rotation":{}}}`, `{"state":{"rotation":null}}`, `{"state":{"rotation":{"outage":"1h"}}}`, `{"state":{"rotation":{"outage":"1"}}}`, `{"state":{"rotation":{"new_item":true,"acknowledged":["a","b"]}}}`,
		`{"state":{"spec":{"labels":{}}}}`, `{"state":{"spec":{"labels":{"a":"1","a":"2"}}}}`, `{"state":{"spec":{"labels":{"a":1}}}}`, `{"state":{"spec":{"labels":{"\u00e4":"ö"}}}}`,
		`{"state":{"spec":{"policy":{"drain_set":tru}}}}`, `{"state":{"spec":{"policy":{"drain_set":true}}}}`, `{"state":{"spec":{"policy":{"drain_set":truex}}}}`,
	}
}

func TestFastPathAgrees(t *testing.T) {
	for _, text := range hardTexts() {
		agree(t, []byte(text))
	}
	for n, data := range goldenBodies(t) {
		agree(t, data)
		// each prefix and each byte changed; the states are all the same, so of
		// most only some
		step := 1
		if n > 0 {
			step = 23
		}
		for i := 0; i < len(data); i += step {
			agree(t, data[:i])
			for _, c := range []byte(`0"\{},x`) {
				changed := append([]byte(nil), data...)
				changed[i] = c
				agree(t, changed)
			}
		}
	}
}
