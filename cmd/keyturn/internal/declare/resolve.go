package declare

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// Issuer is what a declaration must fit.
type Issuer struct {
	// MinLifetime is the shortest life that the issuer gives a key.
	MinLifetime time.Duration
}

// Context is what declarations are resolved against.
type Context struct {
	// Issuers are the configured ones: name → limits.
	Issuers map[string]Issuer
	// Calendar reads cron specs.
	Calendar credential.Calendar
	// Now is where cron specs are looked at from.
	Now time.Time
}

// specParser is a calendar that says what is wrong with a spec.
type specParser interface{ Parse(spec string) error }

// Parse is Read and Resolve of one file. With several files, Read each and
// Resolve them together: a name may be declared only once in all of them.
func Parse(file string, data []byte, c Context) ([]Declaration, error) {
	declared, wrong := Read(file, data)
	resolved, err := Resolve(declared, c)
	return resolved, strict.Join(wrong, err)
}

// Resolve checks declarations against each other and against the issuers, and
// fills in the defaults of their policies. The error is a strict.Problems; the
// declarations without a problem are returned beside it.
func Resolve(declared []Declaration, c Context) ([]Declaration, error) {
	resolver := resolver{calendar: c.Calendar, from: c.Now, known: map[string]verdict{}}
	first := map[credential.Name]strict.Pos{} // name → where it was declared
	var resolved []Declaration
	var problems strict.Problems
	for _, d := range declared {
		r := &strict.Report{Positions: d.Positions}
		if pos, twice := first[d.Name]; twice {
			r.Addf("name", "%s is declared twice; first at %s", d.Name, pos)
		} else {
			first[d.Name] = d.At("name")
		}
		if issuer, ok := c.Issuers[d.Spec.Issuer]; !ok {
			r.Addf("issuer", "%s", unknownIssuer(d.Spec.Issuer, slices.Sorted(maps.Keys(c.Issuers))))
		} else if v := resolver.resolve(d.Spec.Policy, issuer.MinLifetime); v.message != "" {
			r.Addf(v.path, "%s", v.message)
		} else {
			d.Spec.Policy = v.policy
		}
		if len(r.Problems) > 0 {
			problems = append(problems, r.Problems...)
			continue
		}
		resolved = append(resolved, d)
	}
	return resolved, problems.Err()
}

func unknownIssuer(name string, names []string) string {
	text := fmt.Sprintf("no issuer %q is configured", name)
	if hint := strict.DidYouMean(name, names); hint != "" {
		return text + hint
	}
	if len(names) == 0 {
		return text + "; there are none"
	}
	return text + "; there are " + strings.Join(names, ", ")
}

// resolver resolves equal policies once: a schedule is looked at for a year.
type resolver struct {
	calendar credential.Calendar
	from     time.Time
	known    map[string]verdict // policy and minimum → what came of it
}

// verdict is a resolved policy, or what is wrong with it.
type verdict struct {
	policy  credential.Policy
	path    string
	message string
}

func (r resolver) resolve(p credential.Policy, minimum time.Duration) verdict {
	text, err := json.Marshal(p)
	if err != nil {
		return verdict{path: "policy", message: err.Error()}
	}
	key := fmt.Sprintf("%d %s", minimum, text)
	v, ok := r.known[key]
	if !ok {
		v = r.look(p, minimum)
		r.known[key] = v
	}
	v.policy = clone(v.policy) // two declarations share nothing
	return v
}

func (r resolver) look(p credential.Policy, minimum time.Duration) verdict {
	if parser, ok := r.calendar.(specParser); ok {
		if err := parser.Parse(p.Schedule); p.Schedule != "" && err != nil {
			return verdict{path: "policy.schedule", message: err.Error()}
		}
		if p.Window != nil {
			if err := parser.Parse(p.Window.Start); err != nil {
				return verdict{path: "policy.window.start", message: err.Error()}
			}
		}
	}
	policy, err := p.Resolve(minimum, r.calendar, r.from)
	var broken *credential.PolicyError
	switch {
	case errors.As(err, &broken):
		return verdict{path: "policy." + broken.Field, message: broken.Reason}
	case err != nil:
		return verdict{path: "policy", message: err.Error()}
	}
	return verdict{policy: policy}
}

func clone(p credential.Policy) credential.Policy {
	if p.Window != nil {
		window := *p.Window
		p.Window = &window
	}
	if p.Confirm != nil {
		confirm := *p.Confirm
		confirm.Consumers = slices.Clone(confirm.Consumers)
		p.Confirm = &confirm
	}
	return p
}
