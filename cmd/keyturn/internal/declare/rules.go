package declare

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
	"github.com/keyturn/keyturn/rotator/credential"
)

// The bounds of what a credential may be given. That of items is the portal's; it
// names none for referrers.
const (
	maxItems     = 100
	maxReferrers = 100
	maxReferrer  = 256 // bytes
)

// The parts of a host. One in which * stands beside other characters is followed
// by two that are plain: *example.com would also let notexample.com pass.
const (
	plainPart = `[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?`
	starred   = `[A-Za-z0-9*_]([A-Za-z0-9*_-]*[A-Za-z0-9*_])?`
)

// The patterns of the schema; a test compares them.
var (
	itemID       = regexp.MustCompile(`^[0-9a-f]{32}$`)
	wellFormed   = regexp.MustCompile(`^[A-Za-z0-9]+(:[A-Za-z0-9]+)+$`)
	labelKey     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$`)
	consumerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}$`)
	referrer     = regexp.MustCompile(`^(https?://\*|(https?://)?((` + starred + `\.)*` + plainPart + `\.` + plainPart + `|(\*\.)*` + plainPart + `))` +
		`(:(\*|[1-9][0-9]{0,4}))?(/[A-Za-z0-9._~%*/-]*)?$`)
)

// Check refuses a spec that no declaration could have had. The policy is
// credential.Policy's to check, but for the names in it. The error names every
// field that is wrong.
func Check(spec credential.Spec) error {
	r := &strict.Report{}
	rules(r, spec)
	var wrong []string
	for _, p := range r.Problems {
		wrong = append(wrong, p.Path+": "+p.Message)
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// rules finds what is wrong with a spec, however it came here.
func rules(r *strict.Report, spec credential.Spec) {
	oneLine(r, "title", spec.Item.Title)
	oneLine(r, "folder", spec.Item.Folder)
	oneLine(r, "owner", spec.Owner)
	list(r, "tags", spec.Item.Tags, func(tag string) string {
		if strings.TrimSpace(tag) == "" || strings.Contains(tag, ",") || strings.ContainsFunc(tag, unicode.IsControl) {
			return "not a tag: want text without a comma or a line break"
		}
		return ""
	})
	checkLabels(r, spec.Labels)
	checkPrivileges(r, spec.Item)
	checkAccess(r, spec.Item)
	if c := spec.Policy.Confirm; c != nil {
		list(r, "policy.confirm.consumers", c.Consumers, func(name string) string {
			if !consumerName.MatchString(name) {
				return fmt.Sprintf("%q is not the name of a consumer: want letters, digits and _ . @ -, at most 63, the first a letter or digit", name)
			}
			return ""
		})
	}
}

func oneLine(r *strict.Report, path, text string) {
	if strings.ContainsFunc(text, unicode.IsControl) {
		r.Addf(path, "has a line break or another control character")
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

// checkPrivileges looks at what the key may do.
func checkPrivileges(r *strict.Report, item credential.ItemSpec) {
	if len(item.Privileges) == 0 && len(item.Items) == 0 && r.Sound("privileges") && r.Sound("items") {
		r.Addf("privileges", "the key could do nothing: name privileges or items")
	}
	list(r, "privileges", item.Privileges, func(p string) string {
		switch {
		case strings.HasPrefix(p, privilege.ItemAccess):
			return "an item stands under items, by its id"
		case !wellFormed.MatchString(p):
			return fmt.Sprintf("%q is not a privilege: want words joined by colons, such as premium:user:basemaps%s", p, meant(p))
		case item.AllowUnlisted || privilege.Listed(p):
			return ""
		}
		if hint := meant(p); hint != "" {
			return fmt.Sprintf("%q is not in the catalogue%s", p, hint)
		}
		return fmt.Sprintf("%q is not in the catalogue, which keyturn privileges lists; if the portal has it all the same, set allow_unlisted_privileges: true", p)
	})
	if !r.Sound("privileges") || !r.Sound("personal") {
		return
	}
	var personal []string
	for _, p := range item.Privileges {
		if privilege.Personal(p) {
			personal = append(personal, p)
		}
	}
	switch {
	case len(personal) > 0 && !item.Personal:
		r.Addf("personal", "of personal scope, which ties the key to the account of its owner: %s; the portal wants that acknowledged: set personal: true, or leave them out", strings.Join(personal, ", "))
	case len(personal) == 0 && item.Personal:
		r.Addf("personal", "no privilege here is of personal scope, so there is nothing to acknowledge: leave it out")
	}
}

// meant is "; did you mean x?" for the privilege that a text was probably meant
// to be, be it the portal's label for it; else empty.
func meant(text string) string {
	words := map[string]string{} // what may have been meant → the privilege
	var names, labels, lasts []string
	for _, p := range privilege.Catalogue() {
		label := strings.TrimSuffix(p.Label, " (beta)")
		last := lastWord(p.Name)
		names, labels, lasts = append(names, p.Name), append(labels, p.Label, label), append(lasts, last)
		words[p.Name], words[p.Label], words[label], words[last] = p.Name, p.Name, p.Name, p.Name
	}
	for _, try := range []struct {
		text       string
		candidates []string
	}{{text, names}, {text, labels}, {lastWord(text), lasts}} {
		if best := strict.Nearest(try.text, try.candidates); best != "" {
			return "; did you mean " + words[best] + "?"
		}
	}
	return ""
}

// lastWord is what stands behind the last colon of a privilege.
func lastWord(name string) string { return name[strings.LastIndex(name, ":")+1:] }

// checkAccess looks at what the key reads and from where it works.
func checkAccess(r *strict.Report, item credential.ItemSpec) {
	if len(item.Items) > maxItems {
		r.Addf("items", "%d items, but a credential reaches at most %d; split it", len(item.Items), maxItems)
	}
	list(r, "items", item.Items, func(id string) string {
		if !itemID.MatchString(id) {
			return fmt.Sprintf("%q is not an item id: want 32 of 0-9 and a-f", id)
		}
		return ""
	})
	if len(item.Referrers) > maxReferrers {
		r.Addf("referrers", "%d referrers, but a credential has at most %d; use wildcards, such as https://*.example.com", len(item.Referrers), maxReferrers)
	}
	list(r, "referrers", item.Referrers, func(origin string) string {
		switch host := strings.TrimSuffix(origin, "/"); {
		case origin != "" && strings.Trim(host, "*.:/") == "" && strings.Contains(host, "*"):
			return fmt.Sprintf("%q lets every site pass, as no referrers do: name a host, or leave referrers out", origin)
		case len(origin) > maxReferrer:
			return fmt.Sprintf("%d bytes, but a referrer has at most %d", len(origin), maxReferrer)
		case !referrer.MatchString(origin) || portOf(origin) > 65535:
			return fmt.Sprintf("%q is not a referrer: want an http or https origin such as https://*.example.com, where * stands for whole parts of the host", origin)
		}
		return ""
	})
}

// portOf is the port of a referrer; 0 = none is named.
func portOf(origin string) (port int) {
	_, rest, found := strings.Cut(origin, "://")
	if !found {
		rest = origin
	}
	host, _, _ := strings.Cut(rest, "/")
	if _, text, found := strings.Cut(host, ":"); found && text != "*" {
		_, _ = fmt.Sscanf(text, "%d", &port) // the pattern saw to it that it is one
	}
	return port
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
