// Package declare reads the credentials that people declare in YAML.
//
// A file holds documents, each with a list of credentials. Every mistake is
// reported with file, line and column, all of them at once; a file with a
// mistake declares nothing.
package declare

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/yamlfile"
	"github.com/keyturn/keyturn/rotator/credential"
)

// Declaration is one credential, its policy resolved.
type Declaration struct {
	Name credential.Name
	Spec credential.Spec
}

// Issuer is what a declaration must fit.
type Issuer struct {
	MinLifetime time.Duration
}

// Context is what declarations are checked against.
type Context struct {
	Issuers  map[string]Issuer // configured name → its limits
	Calendar credential.Calendar
	Now      time.Time
}

// file is the YAML shape of a document.
type file struct {
	Credentials []entry `yaml:"credentials"`
}

// entry is the YAML shape of a credential.
type entry struct {
	Name        string            `yaml:"name"`
	Issuer      string            `yaml:"issuer"`
	Title       string            `yaml:"title"`
	Folder      string            `yaml:"folder"`
	Description string            `yaml:"description"`
	Tags        []string          `yaml:"tags"`
	Owner       string            `yaml:"owner"`
	Labels      map[string]string `yaml:"labels"`
	Privileges  []string          `yaml:"privileges"`
	Items       []string          `yaml:"items"`
	Referrers   []string          `yaml:"referrers"`
	Personal    bool              `yaml:"personal"`
	Policy      policy            `yaml:"policy"`
}

// policy is the YAML shape of a policy.
type policy struct {
	Lifetime     yamlfile.Duration `yaml:"lifetime"`
	RotateBefore yamlfile.Duration `yaml:"rotate_before"`
	Drain        yamlfile.Duration `yaml:"drain"`
	Settle       yamlfile.Duration `yaml:"settle"`
	Schedule     string            `yaml:"schedule"`
	Window       *window           `yaml:"window"`
	Confirm      *confirm          `yaml:"confirm"`
}

type window struct {
	Start    string            `yaml:"start"`
	Duration yamlfile.Duration `yaml:"duration"`
}

type confirm struct {
	Consumers []string          `yaml:"consumers"`
	Before    string            `yaml:"before"`
	Deadline  yamlfile.Duration `yaml:"deadline"`
	Then      string            `yaml:"then"`
}

// maxItems is how many items one credential may reach.
const maxItems = 100

var itemID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Parse reads a file.
func Parse(name string, data []byte, c Context) ([]Declaration, error) {
	parsed, err := yamlfile.Parse(name, data)
	if err != nil {
		return nil, err
	}
	var declared []Declaration
	var mistakes []error
	seen := map[string]string{} // name → where it was declared
	for doc := range parsed.Documents() {
		var f file
		if err := parsed.Decode(doc, &f); err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		for i, e := range f.Credentials {
			at := func(field string) string { return fmt.Sprintf("$.credentials[%d].%s", i, field) }
			complain := func(field, format string, args ...any) {
				mistakes = append(mistakes, parsed.Errorf(doc, at(field), format, args...))
			}
			before := len(mistakes)
			declaration := e.declaration(c, complain)
			if first, twice := seen[e.Name]; twice {
				complain("name", "%s is declared twice; first at %s", e.Name, first)
			}
			seen[e.Name] = parsed.At(doc, at("name"))
			if len(mistakes) == before {
				declared = append(declared, declaration)
			}
		}
	}
	if len(mistakes) == 0 && len(declared) == 0 {
		mistakes = append(mistakes, fmt.Errorf("%s:1:1: no credential is declared (want a list under credentials:)", name))
	}
	return declared, errors.Join(mistakes...)
}

// declaration checks an entry.
func (e entry) declaration(c Context, complain func(field, format string, args ...any)) Declaration {
	name, err := credential.ParseName(e.Name)
	if err != nil {
		complain("name", "%v", err)
	}
	issuer, known := c.Issuers[e.Issuer]
	if !known {
		names := slices.Sorted(maps.Keys(c.Issuers))
		hint := "configured are: " + strings.Join(names, ", ")
		if near := yamlfile.Nearest(e.Issuer, names); near != "" {
			hint = "did you mean " + near + "?"
		}
		complain("issuer", "no issuer %q (%s)", e.Issuer, hint)
	}
	if len(e.Privileges) == 0 && len(e.Items) == 0 {
		complain("privileges", "the key could do nothing: name privileges or items")
	}
	if len(e.Items) > maxItems {
		complain("items", "%d items, but a credential reaches at most %d", len(e.Items), maxItems)
	}
	for i, id := range e.Items {
		if !itemID.MatchString(id) {
			complain(fmt.Sprintf("items[%d]", i), "%q is not an item id (32 hexadecimal characters)", id)
		}
	}
	for i, referrer := range e.Referrers {
		if why := badReferrer(referrer); why != "" {
			complain(fmt.Sprintf("referrers[%d]", i), "%q is not a referrer: %s", referrer, why)
		}
	}
	for i, text := range slices.Concat(e.Tags, e.Privileges) {
		if strings.ContainsAny(text, ",\n") || text == "" {
			field := fmt.Sprintf("tags[%d]", i)
			if i >= len(e.Tags) {
				field = fmt.Sprintf("privileges[%d]", i-len(e.Tags))
			}
			complain(field, "%q is empty, or has a comma or a line break", text)
		}
	}
	title := e.Title
	if title == "" {
		title = e.Name
	}
	return Declaration{Name: name, Spec: credential.Spec{
		Issuer: e.Issuer, Labels: e.Labels, Owner: e.Owner, Policy: e.resolve(issuer, known, c, complain),
		Item: credential.ItemSpec{
			Title: title, Folder: e.Folder, Description: e.Description, Tags: e.Tags,
			Privileges: e.Privileges, Items: e.Items, Referrers: e.Referrers, Personal: e.Personal,
		},
	}}
}

// resolve checks the policy and fills in its defaults.
func (e entry) resolve(issuer Issuer, known bool, c Context, complain func(field, format string, args ...any)) credential.Policy {
	p := e.Policy
	declared := credential.Policy{
		Lifetime: p.Lifetime.Core(), RotateBefore: p.RotateBefore.Core(),
		Drain: p.Drain.Core(), DrainSet: p.Drain.Set, Settle: p.Settle.Core(), SettleSet: p.Settle.Set,
		Schedule: p.Schedule,
	}
	if p.Schedule != "" && p.RotateBefore.Set {
		complain("policy.rotate_before", "stands beside schedule: want one of the two")
	}
	if p.Window != nil {
		declared.Window = &credential.Window{Start: p.Window.Start, Duration: p.Window.Duration.Core()}
	}
	if p.Confirm != nil {
		declared.Confirm = &credential.Confirm{
			Consumers: p.Confirm.Consumers, Before: p.Confirm.Before,
			Deadline: p.Confirm.Deadline.Core(), Then: p.Confirm.Then,
		}
	}
	if !known {
		return declared // its limits are not known
	}
	resolved, err := declared.Resolve(issuer.MinLifetime, c.Calendar, c.Now)
	var impossible *credential.PolicyError
	switch {
	case errors.As(err, &impossible):
		complain("policy."+impossible.Field, "%s", impossible.Reason)
	case err != nil:
		complain("policy", "%v", err)
	}
	return resolved
}

// badReferrer says what is wrong with an origin; * stands for any run of
// characters.
func badReferrer(referrer string) string {
	parsed, err := url.Parse(strings.ReplaceAll(referrer, "*", "x"))
	switch {
	case err != nil || parsed.Host == "":
		return "want an origin such as https://*.example.com"
	case parsed.Scheme != "http" && parsed.Scheme != "https":
		return "want http or https"
	case strings.ContainsAny(referrer, ", \t\n"):
		return "it has a blank or a comma"
	}
	return ""
}
