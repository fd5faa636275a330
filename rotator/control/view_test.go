package control_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// gallery is a desk whose issuer is an emulated portal with two items.
type gallery struct {
	*desk
	portal *emulator.Portal
	items  []string
}

func newGallery(t *testing.T) gallery {
	t.Helper()
	portal, err := emulator.New(emulator.Config{})
	must(t, err)
	server := httptest.NewServer(portal.Handler())
	client, err := arcgis.New(arcgis.Config{
		Name: "portal", URL: server.URL + portal.BasePath(), Username: emulator.DefaultUser, Timeout: time.Second,
		Password: func() (credential.Secret, error) { return credential.NewSecret(emulator.DefaultPassword), nil },
	})
	must(t, err)
	s, admin := newSite(t)
	g := gallery{portal: portal}
	g.desk = s.open(t, admin, func(c *control.Config) { c.Viewers = map[string]control.Viewer{"portal": client} })
	t.Cleanup(func() {
		client.Close()
		must(t, portal.Close())
		server.Close()
	})
	for i := range 2 {
		item, err := client.EnsureItem(t.Context(), credential.ItemOrder{
			Marker: credential.Marker{Installation: "other", Name: "a/b", Rotation: fmt.Sprint(i)}, Spec: credential.ItemSpec{Title: fmt.Sprint("layer ", i)},
		})
		must(t, err)
		g.items = append(g.items, item)
	}
	return g
}

// reads is how often the portal was asked for an item.
func (g gallery) reads() (n int) {
	for path, calls := range g.portal.Calls() {
		if strings.HasSuffix(path, "/content/items/{item}") {
			n += calls
		}
	}
	return n
}

func (g gallery) apply(change func(*control.Apply)) (control.Answer, error) {
	request := control.Apply{Name: "maps/web", Spec: spec(time.Hour)}
	change(&request)
	ctx, cancel := context.WithTimeout(g.t.Context(), 20*time.Second)
	defer cancel()
	return g.client.Apply(ctx, request)
}

// TestItemsAreLookedForWhenANewItemIsToReachThem: at first, and whenever the
// settings change; a change of anything else is not held up by an item that has gone.
func TestItemsAreLookedForWhenANewItemIsToReachThem(t *testing.T) {
	g := newGallery(t)
	const absent = "0123456789abcdef0123456789abcdef"
	items := func(list ...string) func(*control.Apply) {
		return func(a *control.Apply) { a.Spec.Item.Items = list }
	}
	both := func(changes ...func(*control.Apply)) func(*control.Apply) {
		return func(a *control.Apply) {
			for _, change := range changes {
				change(a)
			}
		}
	}
	dry := func(a *control.Apply) { a.DryRun = true }
	longer := func(a *control.Apply) { a.Spec.Policy.Lifetime = credential.Duration(2 * time.Hour) }
	referrers := func(a *control.Apply) { a.Spec.Item.Referrers = []string{"https://example.com"} }
	for _, step := range []struct {
		what   string
		change func(*control.Apply)
		want   control.Result // empty = refused
		reads  int
	}{
		{"a dry run with one that is not there", both(items(g.items[0], absent), dry), "", 2},
		{"one that is not there", items(g.items[0], absent), "", 2},
		{"a dry run of the first declaration", both(items(g.items...), dry), control.ResultRegistered, 2},
		{"the first declaration", items(g.items...), control.ResultRegistered, 2},
		{"the same again", items(g.items...), control.ResultUnchanged, 0},
		{"the same in another order", items(g.items[1], g.items[0]), control.ResultUpdated, 0},
		{"one more that is not there", items(g.items[0], g.items[1], absent), "", 3},
		{"referrers", both(items(g.items...), referrers), control.ResultUpdated, 2},
		{"no items any more", both(items(), referrers), control.ResultUpdated, 0},
		{"both again", both(items(g.items...), referrers), control.ResultUpdated, 2},
	} {
		before, revision := g.reads(), g.revision(t, "maps/web")
		answer, err := g.apply(step.change)
		if step.want == "" {
			refused(t, err, control.CodeBad, "items: "+absent+": not there, or hidden from the manager of issuer portal", "try: check the ids")
		} else if err != nil || answer.Result != step.want {
			t.Errorf("%s: %s, %v, want %s", step.what, answer.Result, err, step.want)
		}
		if reads := g.reads() - before; reads != step.reads {
			t.Errorf("%s: %d items were read, want %d", step.what, reads, step.reads)
		}
		if step.want == "" && g.revision(t, "maps/web") != revision {
			t.Errorf("%s: the record has changed", step.what)
		}
	}
	must(t, g.portal.DeleteByHand(g.items[1]))
	if answer, err := g.apply(both(items(g.items...), referrers, longer)); err != nil || answer.Result != control.ResultUpdated {
		t.Errorf("a longer life while an item has gone: %+v, %v", answer, err)
	}
	_, err := g.apply(both(items(g.items...), longer))
	refused(t, err, control.CodeBad, "items: "+g.items[1]+": not there")
	if answer, err := g.apply(both(items(g.items[0]), longer)); err != nil || answer.Result != control.ResultUpdated {
		t.Errorf("the items without the one that has gone: %+v, %v", answer, err)
	}
}

// TestAnIssuerThatDoesNotAnswerIsToldFromItemsThatAreNotThere: nothing changes,
// and the same works later.
func TestAnIssuerThatDoesNotAnswerIsToldFromItemsThatAreNotThere(t *testing.T) {
	g := newGallery(t)
	with := func(a *control.Apply) { a.Spec.Item.Items = g.items }
	for _, kind := range []string{emulator.FaultDrop, emulator.FaultThrottle, emulator.FaultHTML, emulator.FaultSilence} {
		must(t, g.portal.SetFaults(emulator.Faults{Rules: []emulator.Rule{{Kind: kind, Path: "/content/items/"}}}))
		_, err := g.apply(with)
		refused(t, err, control.CodeUnavailable, "issuer portal does not say whether the items are there, so nothing was changed", "portal portal: read item", "apply the same again once it does")
		if g.revision(t, "maps/web") != 0 {
			t.Errorf("%s: it is registered all the same", kind)
		}
	}
	if _, err := g.apply(func(*control.Apply) {}); err != nil {
		t.Errorf("a declaration without items waits for the issuer: %v", err)
	}
	must(t, g.portal.SetFaults(emulator.Faults{}))
	if answer, err := g.apply(with); err != nil || answer.Result != control.ResultUpdated {
		t.Errorf("once it answers: %+v, %v", answer, err)
	}
}

// refused demands a refusal with a code and words.
func refused(t *testing.T, err error, code string, words ...string) {
	t.Helper()
	var no *control.Refusal
	if !errors.As(err, &no) || no.Code != code {
		t.Fatalf("%v, want a refusal with %s", err, code)
	}
	for _, word := range words {
		if !strings.Contains(no.Text, word) {
			t.Errorf("it does not say %q: %s", word, no.Text)
		}
	}
}
