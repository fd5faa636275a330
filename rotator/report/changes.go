package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// changeWords says what differs between two declarations, ": a -> b, …"; empty
// where what was before is not known.
func changeWords(before credential.State, after credential.Spec) string {
	if before.Status != credential.StatusRegistered {
		return ""
	}
	old := before.Spec
	var parts []string
	changed := func(what, from, to string) {
		if from != to {
			parts = append(parts, fmt.Sprintf("%s %s -> %s", what, cmp.Or(from, "none"), cmp.Or(to, "none")))
		}
	}
	changed("issuer", old.Issuer, after.Issuer)
	changed("lifetime", short(old.Policy.Lifetime.Std()), short(after.Policy.Lifetime.Std()))
	changed("lead time", short(old.Policy.RotateBefore.Std()), short(after.Policy.RotateBefore.Std()))
	changed("drain", short(old.Policy.Drain.Std()), short(after.Policy.Drain.Std()))
	changed("settle time", short(old.Policy.Settle.Std()), short(after.Policy.Settle.Std()))
	changed("schedule", old.Policy.Schedule, after.Policy.Schedule)
	changed("window", windowWords(old.Policy.Window), windowWords(after.Policy.Window))
	changed("consumers", confirmWords(old.Policy.Confirm), confirmWords(after.Policy.Confirm))
	changed("privileges", listWords(old.Item.Privileges), listWords(after.Item.Privileges))
	changed("items", listWords(old.Item.Items), listWords(after.Item.Items))
	changed("referrers", listWords(old.Item.Referrers), listWords(after.Item.Referrers))
	changed("personal privileges", allowed(old.Item.Personal), allowed(after.Item.Personal))
	changed("unlisted privileges", allowed(old.Item.AllowUnlisted), allowed(after.Item.AllowUnlisted))
	changed("owner", old.Owner, after.Owner)
	if len(parts) == 0 {
		return ": title, folder, description, tags or labels"
	}
	return ": " + strings.Join(parts, ", ")
}

func windowWords(w *credential.Window) string {
	if w == nil {
		return ""
	}
	return fmt.Sprintf("%q for %s", w.Start, short(w.Duration.Std()))
}

func confirmWords(c *credential.Confirm) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s before %s within %s, then %s", listWords(c.Consumers), c.Before, short(c.Deadline.Std()), c.Then)
}

func listWords(list []string) string {
	list = slices.Clone(list)
	slices.Sort(list)
	return strings.Join(list, "+")
}

func allowed(yes bool) string {
	if yes {
		return "allowed"
	}
	return "not allowed"
}
