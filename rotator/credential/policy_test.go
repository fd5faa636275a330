package credential_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

func TestTheBoundariesOfAPolicy(t *testing.T) {
	d := func(x time.Duration) credential.Duration { return credential.Duration(x) }
	with := func(change func(*credential.Policy)) credential.Policy {
		p := credential.Policy{Lifetime: d(40 * day), RotateBefore: d(8 * day)}
		change(&p)
		return p
	}
	gate := func(change func(*credential.Confirm)) credential.Policy {
		return with(func(p *credential.Policy) {
			p.Confirm = &credential.Confirm{Consumers: []string{"a"}, Before: credential.BeforeRetire, Then: credential.ThenHalt, Deadline: d(day)}
			change(p.Confirm)
		})
	}
	for what, c := range map[string]struct {
		p     credential.Policy
		field string // "" = possible
	}{
		"a lead an instant shorter than the life":             {credential.Policy{Lifetime: d(2 * day), RotateBefore: d(2*day - 1)}, ""},
		"a life that is negative":                             {credential.Policy{Lifetime: -1}, "lifetime"},
		"a drain of nothing":                                  {with(func(p *credential.Policy) { p.DrainSet = true }), ""},
		"a settle time of a quarter of the lead":              {with(func(p *credential.Policy) { p.SettleSet, p.Settle = true, d(2*day) }), ""},
		"a settle time an instant longer than that":           {with(func(p *credential.Policy) { p.SettleSet, p.Settle = true, d(2*day+1) }), "settle"},
		"a negative settle time":                              {with(func(p *credential.Policy) { p.SettleSet, p.Settle = true, -1 }), "settle"},
		"a window of no length":                               {with(func(p *credential.Policy) { p.Window = &credential.Window{Start: "every 1h"} }), "window.duration"},
		"a schedule as rare as a life is long":                {with(func(p *credential.Policy) { p.Schedule = "every 960h" }), "schedule"},
		"a schedule a second less rare":                       {with(func(p *credential.Policy) { p.Schedule = "every 959h59m59s"; p.SettleSet, p.DrainSet = true, true }), ""},
		"a gate for as long as the lead":                      {gate(func(c *credential.Confirm) { c.Deadline = d(8 * day) }), ""},
		"a gate an instant longer":                            {gate(func(c *credential.Confirm) { c.Deadline = d(8*day + 1) }), "confirm.deadline"},
		"a gate without a deadline":                           {gate(func(c *credential.Confirm) { c.Deadline = 0 }), "confirm.deadline"},
		"a gate that does neither":                            {gate(func(c *credential.Confirm) { c.Then = "hope" }), "confirm.then"},
		"a gate before neither":                               {gate(func(c *credential.Confirm) { c.Before = "lunch" }), "confirm.before"},
		"a gate for nobody":                                   {gate(func(c *credential.Confirm) { c.Consumers = nil }), "confirm.consumers"},
		"a lead of its own beside a schedule gives way to it": {with(func(p *credential.Policy) { p.Schedule, p.RotateBefore = "every 24h", d(100*day) }), ""},
	} {
		resolved, err := c.p.Resolve(day, every{}, start)
		var impossible *credential.PolicyError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%s: refused: %v", what, err)
		case c.field != "" && (!errors.As(err, &impossible) || impossible.Field != c.field || !strings.HasPrefix(err.Error(), "policy "+c.field+": ")):
			t.Errorf("%s: %v, want a refusal of %s", what, err, c.field)
		case c.p.Schedule == "every 24h" && resolved.RotateBefore != d(39*day):
			t.Errorf("%s: lead %v, want 39 days", what, resolved.RotateBefore)
		}
	}
}

func TestWhatFollowsFromTheLeadTime(t *testing.T) {
	for _, c := range []struct{ lead, claim, probe time.Duration }{
		{30 * day, 30 * time.Second, 5 * time.Minute},
		{40 * time.Minute, 30 * time.Second, 5 * time.Minute},
		{8 * time.Minute, 30 * time.Second, time.Minute},
		{4 * time.Minute, 30 * time.Second, 30 * time.Second},
		{80 * time.Second, 10 * time.Second, 10 * time.Second},
	} {
		p := credential.Policy{RotateBefore: credential.Duration(c.lead)}
		if p.ClaimWindow() != c.claim || p.ProbeInterval() != c.probe {
			t.Errorf("lead %v: window %v, probe %v; want %v, %v", c.lead, p.ClaimWindow(), p.ProbeInterval(), c.claim, c.probe)
		}
		if warn, page := p.WarnAt(start), p.PageAt(start); start.Sub(warn) != c.lead/2 || start.Sub(page) != c.lead/4 {
			t.Errorf("lead %v: warn %v, page %v", c.lead, warn, page)
		}
	}
}

func TestWhenADueTimeGivesWay(t *testing.T) {
	lead := func(x time.Duration) credential.Policy {
		return credential.Policy{RotateBefore: credential.Duration(x)}
	}
	expires := start.Add(10 * day)
	if due := lead(10*day).DueAt(name, 1, start, expires, every{}); !due.Equal(start) {
		t.Errorf("a spread that reaches before the promotion: %v, want none", due)
	}
	short := lead(time.Minute) // a second matters
	if due := short.DueAt(name, 1, start, expires, every{}); due.After(expires.Add(-time.Minute)) || due.Before(expires.Add(-66*time.Second)) || due.Equal(due.Truncate(time.Second)) {
		t.Errorf("a short lead: due %v of %v", due, expires)
	}
	scheduled := lead(4 * day)
	scheduled.Schedule = "every 240h"
	firing := start.Truncate(240 * time.Hour).Add(240 * time.Hour)
	for what, c := range map[string]struct{ expires, want time.Time }{
		"the firing lies an instant before the warning": {firing.Add(2*day + 1), firing},
		"the firing lies at the warning":                {firing.Add(2 * day), firing.Add(-2 * day)},
	} {
		if due := scheduled.DueAt(name, 1, start, c.expires, every{}); !due.Equal(c.want) {
			t.Errorf("%s: due %v, want %v", what, due, c.want)
		}
	}
	scheduled.Schedule = "never"
	if due := scheduled.DueAt(name, 1, start, expires, every{}); !due.Equal(expires.Add(-4 * day)) {
		t.Errorf("a schedule that fires no more: %v, want the lead time", due)
	}
}

func TestWhenAWindowIsOpen(t *testing.T) {
	opening := start.Truncate(day)
	w := func(start string, open time.Duration) credential.Policy {
		return credential.Policy{Window: &credential.Window{Start: start, Duration: credential.Duration(open)}}
	}
	for what, c := range map[string]struct {
		p        credential.Policy
		at, want time.Time
	}{
		"no window":                  {credential.Policy{}, start, start},
		"an instant before it opens": {w("every 24h", time.Hour), opening.Add(-1), opening},
		"as it opens":                {w("every 24h", time.Hour), opening, opening},
		"its last instant":           {w("every 24h", time.Hour), opening.Add(time.Hour - 1), opening.Add(time.Hour - 1)},
		"as it closes":               {w("every 24h", time.Hour), opening.Add(time.Hour), opening.Add(day)},
		"one that overlaps the next": {w("every 24h", 48*time.Hour), opening.Add(-1), opening.Add(-1)},
		"one as long as the gap":     {w("every 24h", day), opening.Add(-1), opening.Add(-1)},
		"one that never opens":       {w("never", time.Hour), start, start},
	} {
		if at := c.p.OpenAt(c.at, every{}); !at.Equal(c.want) {
			t.Errorf("%s: %v, want %v", what, at, c.want)
		}
	}
}

func TestDurationsReadAndWriteAsText(t *testing.T) {
	var d credential.Duration
	if err := d.UnmarshalText([]byte("720h0m0s")); err != nil || d.Std() != 30*day || d.String() != "720h0m0s" {
		t.Errorf("%v, %v", d, err)
	}
	if err := d.UnmarshalText([]byte("a while")); err == nil {
		t.Error("nonsense is read")
	}
}

func TestTheOrderOfSettingsDoesNotMatter(t *testing.T) {
	one := credential.ItemSpec{Privileges: []string{"a", "b"}, Items: []string{"x"}, Title: "one"}
	same := credential.ItemSpec{Privileges: []string{"b", "a", "a"}, Items: []string{"x"}, Title: "two", Tags: []string{"t"}}
	moved := credential.ItemSpec{Privileges: []string{"a", "b"}, Referrers: []string{"x"}}
	if one.SettingsHash() != same.SettingsHash() || one.SettingsHash() == moved.SettingsHash() || len(one.SettingsHash()) != 16 {
		t.Errorf("%s, %s, %s", one.SettingsHash(), same.SettingsHash(), moved.SettingsHash())
	}
}
