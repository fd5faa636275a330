package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestEachLimitOfAPolicyIsRefused: at most a year, never nothing, never less than
// the issuer gives; and what lies inside of it does.
func TestEachLimitOfAPolicyIsRefused(t *testing.T) {
	d := func(x time.Duration) credential.Duration { return credential.Duration(x) }
	for what, c := range map[string]struct {
		p     credential.Policy
		field string // "" = possible
	}{
		"a year":                      {credential.Policy{Lifetime: d(credential.MaxLifetime)}, ""},
		"an instant more":             {credential.Policy{Lifetime: d(credential.MaxLifetime + 1)}, "lifetime"},
		"no lifetime":                 {credential.Policy{}, "lifetime"},
		"the issuer's minimum":        {credential.Policy{Lifetime: d(day)}, ""},
		"an instant less":             {credential.Policy{Lifetime: d(day - 1)}, "lifetime"},
		"a negative lead":             {credential.Policy{Lifetime: d(2 * day), RotateBefore: -1}, "rotate_before"},
		"a lead as long as the life":  {credential.Policy{Lifetime: d(2 * day), RotateBefore: d(2 * day)}, "rotate_before"},
		"a negative drain":            {credential.Policy{Lifetime: d(2 * day), Drain: -1, DrainSet: true}, "drain"},
		"a drain as long as the lead": {credential.Policy{Lifetime: d(2 * day), RotateBefore: d(day), Drain: d(day), DrainSet: true}, ""},
		"an instant more drain":       {credential.Policy{Lifetime: d(2 * day), RotateBefore: d(day), Drain: d(day + 1), DrainSet: true}, "drain"},
		"a schedule that never fires": {credential.Policy{Lifetime: d(2 * day), Schedule: "never"}, "schedule"},
		"a window that never opens":   {credential.Policy{Lifetime: d(2 * day), Window: &credential.Window{Start: "never", Duration: d(time.Hour)}}, "window.start"},
		"a window of negative length": {credential.Policy{Lifetime: d(2 * day), Window: &credential.Window{Start: "every 1h", Duration: -1}}, "window.duration"},
		"a gate with a negative patience": {credential.Policy{Lifetime: d(2 * day), Confirm: &credential.Confirm{
			Consumers: []string{"a"}, Before: credential.BeforePromote, Then: credential.ThenHalt, Deadline: -1,
		}}, "confirm.deadline"},
	} {
		_, err := c.p.Resolve(day, every{}, start)
		var impossible *credential.PolicyError
		if (c.field == "") != (err == nil) || c.field != "" && (!errors.As(err, &impossible) || impossible.Field != c.field) {
			t.Errorf("%s: %v, want a refusal of %q", what, err, c.field)
		}
	}
}

// TestAllowUnlistedIsNoSetting: it changes the declaration, and leads to no new item.
func TestAllowUnlistedIsNoSetting(t *testing.T) {
	one := credential.Spec{Item: credential.ItemSpec{Privileges: []string{"a:b"}}}
	other := one
	other.Item.AllowUnlisted = true
	if one.Item.SettingsHash() != other.Item.SettingsHash() || one.Equal(other) {
		t.Errorf("the same settings: %v; the same declaration: %v", one.Item.SettingsHash() == other.Item.SettingsHash(), one.Equal(other))
	}
}
