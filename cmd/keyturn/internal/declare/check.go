package declare

import (
	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// check finds what is wrong with an entry by itself.
func check(r *strict.Report, e entry) {
	if _, err := credential.ParseName(e.Name); e.Name != "" && err != nil {
		r.Addf("name", "%v", err)
	}
	for _, field := range []struct{ path, text string }{
		{"name", e.Name}, {"issuer", e.Issuer}, {"title", e.Title}, {"folder", e.Folder}, {"owner", e.Owner},
	} {
		if field.text == "" && r.Given(field.path) {
			r.Addf(field.path, "empty: give a text or leave the field out")
		}
	}
	oneLine(r, "name", e.Name)
	oneLine(r, "issuer", e.Issuer)
	spec := e.spec()
	spec.Item.Title = e.Title // without its default
	rules(r, spec)
	if e.Policy != nil {
		checkPolicy(r, e.Policy)
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
	if p.Confirm != nil && len(p.Confirm.Consumers) == 0 {
		r.Addf("policy.confirm.consumers", "no consumer is named: the gate would always be open")
	}
}
