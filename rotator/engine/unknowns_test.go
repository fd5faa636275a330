package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestUnknownsBothWays lives a whole life with each position of each knob of the
// emulated portal. Where a position leaves keyturn nothing that it could do, what
// stands on record says why and what to try, and no application notices.
func TestUnknownsBothWays(t *testing.T) {
	w := newWorld(t)
	title := func(p position) string {
		parts := []string{strconv.Itoa(p.point)}
		for _, part := range []string{string(p.portal.Edition), p.note, p.knobs} {
			if part != "" && part != "{}" {
				parts = append(parts, part)
			}
		}
		return strings.NewReplacer(`"`, "", "{", "", "}", "").Replace(strings.Join(parts, " "))
	}
	side(t, 6, positions(), title, func(t *testing.T, p position) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		must(t, json.Unmarshal([]byte(p.knobs), &p.portal.Knobs))
		own := w.beside(t, p.portal)
		name := credential.Name(fmt.Sprintf("unknown/p%d", p.id))
		item := credential.ItemSpec{Privileges: p.privileges, Personal: p.personal, Referrers: p.referrers}
		if len(p.referrers) > 0 {
			own.referer = p.referrers[0] + "/7"
		}
		if p.privileges == nil {
			item.Privileges = []string{"premium:user:basemaps"}
		}
		var manager []func(*arcgis.Config)
		if p.manager != nil {
			token := p.manager(ctx, t, own)
			manager = append(manager, func(c *arcgis.Config) {
				c.Password, c.APIKey = nil, func() (credential.Secret, error) { return token, nil }
			})
		}
		e := own.engine(t, own.ports(t, manager...), engine.Hooks{})
		l := own.begin(t, e, name, item, w.policy(t, lifetime, patientLead, drain))
		l.between, l.deadly = p.between, p.deadly
		if p.says != "" {
			l.refused(ctx, t, p.says)
			return
		}
		l.run(ctx, t)
	})
}

// TestEveryUnknownHasARow: a knob that is added needs its positions in the table,
// and each open question of the emulator's doc.go has at least two.
func TestEveryUnknownHasARow(t *testing.T) {
	at := map[string]map[string]bool{} // knob → the positions that it has, as JSON
	points := map[int]int{}
	for _, p := range positions() {
		points[p.point]++
		var knobs map[string]json.RawMessage
		must(t, json.Unmarshal([]byte(p.knobs), &knobs))
		for name, value := range knobs {
			if at[name] == nil {
				at[name] = map[string]bool{}
			}
			at[name][string(value)] = true
		}
	}
	for point := range 19 { // 0 = not a question of its own
		if points[point] < 2 {
			t.Errorf("question %d has %d rows", point, points[point])
		}
	}
	knobs := reflect.TypeFor[emulator.Knobs]()
	for i := range knobs.NumField() {
		name := knobs.Field(i).Tag.Get("json")
		want := []string{}
		for _, word := range emulator.Positions()[name] {
			want = append(want, strconv.Quote(word))
		}
		switch knobs.Field(i).Type.Kind() {
		case reflect.Bool:
			want = []string{"false", "true"}
		case reflect.String:
		default:
			if len(at[name]) == 0 {
				t.Errorf("%s has no row", name)
			}
		}
		// the first position is that of every row which does not name the knob
		for _, position := range want[min(1, len(want)):] {
			if !at[name][position] {
				t.Errorf("%s has no row for %s", name, position)
			}
		}
		delete(at, name)
	}
	if len(at) > 0 {
		t.Errorf("there are no such knobs: %v", at)
	}
	if !slices.ContainsFunc(positions(), func(p position) bool { return p.knobs == "{}" && p.says == "" && p.portal.Edition == "" }) {
		t.Error("no row has every knob in its first position")
	}
}
