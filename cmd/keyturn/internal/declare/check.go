package declare

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// maxItems is how many items one credential may reach at the portal.
const maxItems = 100

// itemAccess begins the privilege that the portal makes of an item.
const itemAccess = "portal:app:access:item:"

// The patterns of the schema; a test compares them.
var (
	itemID       = regexp.MustCompile(`^[0-9a-f]{32}$`)
	privilege    = regexp.MustCompile(`^[A-Za-z0-9]+(:[A-Za-z0-9]+)+$`)
	labelKey     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$`)
	consumerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}$`)
	referrer     = regexp.MustCompile(`^https?://[A-Za-z0-9*]([A-Za-z0-9.*_-]*[A-Za-z0-9*])?(:([0-9]{1,5}|\*))?(/[A-Za-z0-9._~%*/-]*)?$`)
)

// check finds what is wrong with an entry by itself.
func check(r *strict.Report, e entry) {
	if _, err := credential.ParseName(e.Name); e.Name != "" && err != nil {
		r.Addf("name", "%v", err)
	}
	for _, field := range []struct{ path, text string }{
		{"name", e.Name}, {"issuer", e.Issuer}, {"title", e.Title}, {"folder", e.Folder}, {"owner", e.Owner},
	} {
		switch {
		case field.text == "" && r.Given(field.path):
			r.Addf(field.path, "empty: give a text or leave the field out")
		case strings.ContainsFunc(field.text, unicode.IsControl):
			r.Addf(field.path, "has a line break or another control character")
		}
	}
	list(r, "tags", e.Tags, func(tag string) string {
		if strings.TrimSpace(tag) == "" || strings.Contains(tag, ",") || strings.ContainsFunc(tag, unicode.IsControl) {
			return "not a tag: want text without a comma or a line break"
		}
		return ""
	})
	checkLabels(r, e.Labels)
	checkSettings(r, e)
	if e.Policy != nil {
		checkPolicy(r, e.Policy)
	}
}

func checkLabels(r *strict.Report, labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) { // in order: "a" is within "a.b"
		value := labels[key]
		path := "labels." + key
		switch {
		case !labelKey.MatchString(key):
			r.Addf(path, "not the name of a label: want letters, digits and _ . / -, at most 63, the first a letter or digit")
		case len(value) > 256 || strings.ContainsFunc(value, unicode.IsControl):
			r.Addf(path, "want one line of at most 256 bytes")
		}
	}
}

// checkSettings looks at what the key may do.
func checkSettings(r *strict.Report, e entry) {
	if len(e.Privileges) == 0 && len(e.Items) == 0 && r.Sound("privileges") && r.Sound("items") {
		r.Addf("privileges", "the key could do nothing: name privileges or items")
	}
	list(r, "privileges", e.Privileges, func(p string) string {
		switch {
		case strings.HasPrefix(p, itemAccess):
			return "an item stands under items, by its id"
		case !privilege.MatchString(p):
			return fmt.Sprintf("%q is not a privilege: want words joined by colons, such as premium:user:basemaps", p)
		}
		return ""
	})
	if len(e.Items) > maxItems {
		r.Addf("items", "%d items, but a credential reaches at most %d; split it", len(e.Items), maxItems)
	}
	list(r, "items", e.Items, func(id string) string {
		if !itemID.MatchString(id) {
			return fmt.Sprintf("%q is not an item id: want 32 of 0-9 and a-f", id)
		}
		return ""
	})
	list(r, "referrers", e.Referrers, func(origin string) string {
		if !referrer.MatchString(origin) {
			return fmt.Sprintf("%q is not a referrer: want an http or https origin such as https://*.example.com", origin)
		}
		return ""
	})
}

// list applies a rule to each text of a list and refuses repetitions.
func list(r *strict.Report, path string, texts []string, wrong func(string) string) {
	seen := map[string]int{} // text → its index
	for i, text := range texts {
		inner := fmt.Sprintf("%s[%d]", path, i)
		if !r.Sound(inner) {
			continue
		}
		if message := wrong(text); message != "" {
			r.Addf(inner, "%s", message)
		} else if first, twice := seen[text]; twice {
			r.Addf(inner, "the same as %s[%d]", path, first)
		} else {
			seen[text] = i
		}
	}
}

// checkPolicy looks at what needs no issuer; the rest is credential.Policy's.
func checkPolicy(r *strict.Report, p *policy) {
	if p.RotateBefore.Set && r.Given("policy.schedule") {
		r.Addf("policy.rotate_before", "want one of rotate_before and schedule: with a schedule, the lead time follows from it")
	}
	if r.Given("policy.schedule") && p.Schedule == "" {
		r.Addf("policy.schedule", "empty: give a cron spec or leave the field out")
	}
	if p.RotateBefore.Set && p.RotateBefore.Value == 0 {
		r.Addf("policy.rotate_before", "a key needs some time to be replaced in: leave the field out for the default")
	}
	for _, field := range []struct {
		path string
		set  bool
	}{
		{"rotate_before", p.RotateBefore.Set}, {"drain", p.Drain.Set}, {"settle", p.Settle.Set}, {"window", p.Window != nil}, {"confirm", p.Confirm != nil},
	} {
		if path := "policy." + field.path; r.Given(path) && !field.set {
			r.Addf(path, "empty: fill it in or leave it out")
		}
	}
	if p.Confirm != nil {
		if len(p.Confirm.Consumers) == 0 {
			r.Addf("policy.confirm.consumers", "no consumer is named: the gate would always be open")
		}
		list(r, "policy.confirm.consumers", p.Confirm.Consumers, func(name string) string {
			if !consumerName.MatchString(name) {
				return fmt.Sprintf("%q is not the name of a consumer: want letters, digits and _ . @ -, at most 63, the first a letter or digit", name)
			}
			return ""
		})
	}
}
