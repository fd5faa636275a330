package declare

import (
	"cmp"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// Declaration is one credential as somebody declared it.
type Declaration struct {
	Name credential.Name
	Spec credential.Spec
	// Positions are where the fields stand: "policy.drain" → place.
	Positions strict.Positions
}

// At is where a field stands, or the nearest thing around it that is there.
func (d Declaration) At(field string) strict.Pos { return d.Positions.At(field) }

// document is the YAML shape of a document.
type document struct {
	Credentials []strict.Raw `yaml:"credentials"`
}

// entry is the YAML shape of a credential.
type entry struct {
	Name        string            `yaml:"name,required"`
	Issuer      string            `yaml:"issuer,required"`
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
	Unlisted    bool              `yaml:"allow_unlisted_privileges"`
	Policy      *policy           `yaml:"policy,required"`
}

// policy is the YAML shape of a policy.
type policy struct {
	Lifetime     strict.Duration `yaml:"lifetime,required"`
	RotateBefore strict.Duration `yaml:"rotate_before"`
	Drain        strict.Duration `yaml:"drain"`
	Settle       strict.Duration `yaml:"settle"`
	Schedule     string          `yaml:"schedule"`
	Window       *window         `yaml:"window"`
	Confirm      *confirm        `yaml:"confirm"`
}

type window struct {
	Start    string          `yaml:"start,required"`
	Duration strict.Duration `yaml:"duration,required"`
}

type confirm struct {
	Consumers []string        `yaml:"consumers,required"`
	Before    string          `yaml:"before,required" enum:"promote retire"`
	Deadline  strict.Duration `yaml:"deadline,required"`
	Then      string          `yaml:"then,required" enum:"proceed halt"`
}

// Read reads the declarations of a file and checks what needs no issuer. Each document holds either a list
// under "credentials" or one credential by itself. The error is a
// strict.Problems; the declarations without a problem are returned beside it.
func Read(file string, data []byte) ([]Declaration, error) {
	docs, err := strict.Documents(file, data)
	errs := []error{err}
	var declared []Declaration
	take := func(r *strict.Report, e entry) {
		check(r, e)
		if err := r.Problems.Err(); err != nil {
			errs = append(errs, err)
			return
		}
		declared = append(declared, Declaration{Name: credential.Name(e.Name), Spec: e.spec(), Positions: r.Positions})
	}
	for _, doc := range docs {
		if (doc.Has("name") || doc.Has("issuer")) && !doc.Has("credentials") {
			var e entry
			take(doc.Decode(&e), e)
			continue
		}
		var d document
		r := doc.Decode(&d)
		errs = append(errs, r.Problems.Err())
		for _, raw := range d.Credentials {
			if raw.Empty() {
				continue // reported already
			}
			var e entry
			take(raw.Decode(&e), e)
		}
	}
	err = strict.Join(errs...)
	if err == nil && len(declared) == 0 {
		err = strict.Problems{{Pos: strict.Pos{File: file}, Message: "no credential is declared; want a list under credentials:"}}
	}
	return declared, err
}

// spec is the entry as the core has it, without the defaults of its policy.
func (e entry) spec() credential.Spec {
	return credential.Spec{
		Issuer: e.Issuer, Labels: e.Labels, Owner: e.Owner, Policy: e.Policy.core(),
		Item: credential.ItemSpec{
			Title: cmp.Or(e.Title, e.Name), Folder: e.Folder, Description: e.Description, Tags: e.Tags,
			Privileges: e.Privileges, Items: e.Items, Referrers: e.Referrers, Personal: e.Personal, AllowUnlisted: e.Unlisted,
		},
	}
}

// core is the policy as the core has it, without defaults; nil has none.
func (p *policy) core() credential.Policy {
	if p == nil {
		return credential.Policy{}
	}
	declared := credential.Policy{
		Lifetime: p.Lifetime.Core(), RotateBefore: p.RotateBefore.Core(), Schedule: p.Schedule,
		Drain: p.Drain.Core(), DrainSet: p.Drain.Set, Settle: p.Settle.Core(), SettleSet: p.Settle.Set,
	}
	if w := p.Window; w != nil {
		declared.Window = &credential.Window{Start: w.Start, Duration: w.Duration.Core()}
	}
	if c := p.Confirm; c != nil {
		declared.Confirm = &credential.Confirm{Consumers: c.Consumers, Before: c.Before, Deadline: c.Deadline.Core(), Then: c.Then}
	}
	return declared
}
