package credential

import (
	"fmt"
	"hash/fnv"
	"time"
)

// Duration is a time.Duration that reads and writes as text ("720h0m0s").
type Duration time.Duration

// Std returns the standard form.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is the standard text.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the standard text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the standard text.
func (d *Duration) UnmarshalText(text []byte) error {
	std, err := time.ParseDuration(string(text))
	*d = Duration(std)
	return err
}

// Calendar answers when a cron spec fires next. It is a pure function of its
// arguments; ok is false when the spec never fires again or cannot be read.
type Calendar interface {
	Next(spec string, after time.Time) (next time.Time, ok bool)
}

// Limits of policies.
const (
	MaxLifetime    = 365 * 24 * time.Hour
	maxDefaultLead = 30 * 24 * time.Hour
	maxDrain       = 24 * time.Hour // default, not a limit
	defaultSettle  = 60 * time.Second
	maxWindow      = 30 * time.Second // of a claim
	maxProbe       = 5 * time.Minute
)

// Policy says how long keys live and when they are replaced.
type Policy struct {
	// Lifetime of each key.
	Lifetime Duration `json:"lifetime"`
	// RotateBefore is the lead time before expiry. Resolved from the schedule
	// where there is one: the lifetime less the longest gap between its runs.
	RotateBefore Duration `json:"rotate_before"`
	// Drain is how long both keys work after a promotion. DrainSet tells an
	// explicit zero from none.
	Drain    Duration `json:"drain"`
	DrainSet bool     `json:"drain_set,omitempty"`
	// Settle is how long a new key must be accepted before it counts as proven.
	Settle    Duration `json:"settle"`
	SettleSet bool     `json:"settle_set,omitempty"`
	// Schedule is a cron spec, with CRON_TZ; empty = by expiry.
	Schedule string `json:"schedule,omitempty"`
	// Window is when planned steps may begin; nil = always.
	Window *Window `json:"window,omitempty"`
	// Confirm names consumers that must confirm a key; nil = none.
	Confirm *Confirm `json:"confirm,omitempty"`
}

// Window opens at each firing of Start and stays open for Duration.
type Window struct {
	Start    string   `json:"start"`
	Duration Duration `json:"duration"`
}

// Confirm is the gate that waits for consumers.
type Confirm struct {
	Consumers []string `json:"consumers"`
	// Before is "promote" or "retire".
	Before string `json:"before"`
	// Deadline is how long the gate waits.
	Deadline Duration `json:"deadline"`
	// Then is "proceed" or "halt".
	Then string `json:"then"`
}

// The values of Confirm.
const (
	BeforePromote = "promote"
	BeforeRetire  = "retire"
	ThenProceed   = "proceed"
	ThenHalt      = "halt"
)

// PolicyError names the field of a policy that cannot be kept, so that the
// reader of a file can point at its line.
type PolicyError struct {
	Field  string // as in the declaration: "rotate_before", "window.start"
	Reason string
}

// Error is "policy FIELD: REASON".
func (e *PolicyError) Error() string { return "policy " + e.Field + ": " + e.Reason }

// Resolve fills the defaults in and refuses a policy that cannot be kept.
// Minimum is the issuer's shortest lifetime; from is where cron specs are
// looked at from.
func (p Policy) Resolve(minimum time.Duration, calendar Calendar, from time.Time) (Policy, error) {
	lifetime := p.Lifetime.Std()
	switch {
	case lifetime <= 0:
		return p, &PolicyError{"lifetime", "missing: say how long a key lives, e.g. 90d"}
	case lifetime > MaxLifetime:
		return p, &PolicyError{"lifetime", fmt.Sprintf("%s is longer than the 365 days that a key may live", Short(lifetime))}
	case lifetime < minimum:
		return p, &PolicyError{"lifetime", fmt.Sprintf("%s is shorter than the issuer's minimum of %s", Short(lifetime), Short(minimum))}
	}
	if err := p.resolveLead(lifetime, calendar, from); err != nil {
		return p, err
	}
	lead := p.RotateBefore.Std()
	if !p.DrainSet {
		p.Drain = Duration(min(maxDrain, lead/2))
		p.DrainSet = true
	}
	if drain := p.Drain.Std(); drain < 0 || drain > lead {
		return p, &PolicyError{"drain", fmt.Sprintf("%s is longer than the lead time of %s: the old key would expire first", Short(drain), Short(lead))}
	}
	if !p.SettleSet {
		p.Settle = Duration(min(defaultSettle, lead/8))
		p.SettleSet = true
	}
	if settle := p.Settle.Std(); settle < 0 || settle > lead/4 {
		return p, &PolicyError{"settle", fmt.Sprintf("%s is longer than a quarter of the lead time of %s", Short(settle), Short(lead))}
	}
	if w := p.Window; w != nil {
		if w.Duration <= 0 {
			return p, &PolicyError{"window.duration", "missing: say how long the window stays open"}
		}
		if _, ok := calendar.Next(w.Start, from); !ok {
			return p, &PolicyError{"window.start", fmt.Sprintf("%q never fires, so the window never opens", w.Start)}
		}
	}
	return p, p.Confirm.validate(lead)
}

// resolveLead sets RotateBefore.
func (p *Policy) resolveLead(lifetime time.Duration, calendar Calendar, from time.Time) error {
	if p.Schedule != "" {
		// a record holds the resolved lead, so a schedule decides it anew each time
		gap, ok := longestGap(p.Schedule, calendar, from)
		if !ok {
			return &PolicyError{"schedule", fmt.Sprintf("%q never fires", p.Schedule)}
		}
		if gap >= lifetime {
			return &PolicyError{"schedule", fmt.Sprintf("%q leaves %s between two runs, but a key lives %s", p.Schedule, Short(gap), Short(lifetime))}
		}
		p.RotateBefore = Duration(lifetime - gap)
		return nil
	}
	if p.RotateBefore == 0 {
		p.RotateBefore = Duration(min(lifetime/3, maxDefaultLead))
	}
	if lead := p.RotateBefore.Std(); lead <= 0 || lead >= lifetime {
		return &PolicyError{"rotate_before", fmt.Sprintf("%s does not lie within the lifetime of %s", Short(lead), Short(lifetime))}
	}
	return nil
}

// validate refuses a gate that could not hold anything.
func (c *Confirm) validate(lead time.Duration) error {
	switch {
	case c == nil:
		return nil
	case len(c.Consumers) == 0:
		return &PolicyError{"confirm.consumers", "no consumer is named: the gate would always be open"}
	case c.Before != BeforePromote && c.Before != BeforeRetire:
		return &PolicyError{"confirm.before", fmt.Sprintf("%q is neither promote nor retire", c.Before)}
	case c.Then != ThenProceed && c.Then != ThenHalt:
		return &PolicyError{"confirm.then", fmt.Sprintf("%q is neither proceed nor halt", c.Then)}
	case c.Deadline <= 0 || c.Deadline.Std() > lead:
		return &PolicyError{"confirm.deadline", fmt.Sprintf("%s does not lie within the lead time of %s", Short(c.Deadline.Std()), Short(lead))}
	}
	return nil
}

// longestGap looks at a cron spec for a year and a month.
func longestGap(spec string, calendar Calendar, from time.Time) (time.Duration, bool) {
	const firings = 600_000 // a spec that fires each minute has fewer in that time
	last, ok := calendar.Next(spec, from)
	if !ok {
		return 0, false
	}
	longest := time.Duration(0)
	for end, n := from.AddDate(1, 1, 0), 0; n < firings && last.Before(end); n++ {
		next, ok := calendar.Next(spec, last)
		if !ok {
			return 0, false
		}
		longest = max(longest, next.Sub(last))
		last = next
	}
	return longest, true
}

// ClaimWindow is how long a claim lets its holder make calls.
func (p Policy) ClaimWindow() time.Duration { return min(maxWindow, p.RotateBefore.Std()/8) }

// ProbeInterval is how often the primary is looked at.
func (p Policy) ProbeInterval() time.Duration { return min(maxProbe, p.RotateBefore.Std()/8) }

// WarnAt and PageAt are when people are told that a key nears its expiry.
// PageAt is also when no gate holds a promotion any longer.
func (p Policy) WarnAt(expires time.Time) time.Time {
	return expires.Add(-p.RotateBefore.Std() / 2)
}

// PageAt is described at WarnAt.
func (p Policy) PageAt(expires time.Time) time.Time {
	return expires.Add(-p.RotateBefore.Std() / 4)
}

// DueAt is when the rotation that replaces a key begins: the first run of the
// schedule after the promotion, else the lead time before expiry and up to a
// tenth of it sooner, by a hash of name and generation. Whole seconds, unless
// the lead is so short that a second matters.
func (p Policy) DueAt(name Name, generation uint64, promoted, expires time.Time, calendar Calendar) time.Time {
	latest := expires.Add(-p.RotateBefore.Std())
	if p.Schedule != "" {
		if next, ok := calendar.Next(p.Schedule, promoted); ok && next.Before(p.WarnAt(expires)) {
			return next
		}
		return latest
	}
	due := latest.Add(-spread(name, generation, p.RotateBefore.Std()/10))
	if due.Before(promoted) {
		due = latest
	}
	if p.RotateBefore.Std() > time.Minute {
		due = due.Truncate(time.Second)
	}
	return due
}

// spread maps a name and a generation evenly onto 0 up to width.
func spread(name Name, generation uint64, width time.Duration) time.Duration {
	if width <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%d", name, generation)
	// FNV leaves the high bits of short inputs poorly mixed; finish as in splitmix64.
	x := h.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return time.Duration(x % uint64(width))
}

// OpenAt returns the first instant at or after t at which a planned step may
// begin.
func (p Policy) OpenAt(t time.Time, calendar Calendar) time.Time {
	if p.Window == nil {
		return t
	}
	opened, ok := calendar.Next(p.Window.Start, t.Add(-p.Window.Duration.Std()))
	if !ok || !opened.After(t) {
		return t // open now; one that never opens is refused by Resolve
	}
	return opened
}

// Short writes a duration as people do: 90d, 24h, 1m30s.
func Short(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.Round(time.Millisecond).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if n := len(text) - 2; n > 0 && len(text) > len(zero) && text[len(text)-len(zero):] == zero {
			text = text[:n]
		}
	}
	return text
}
