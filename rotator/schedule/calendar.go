package schedule

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Calendar reads cron specs: five fields (minute, hour, day of month, month,
// day of week) or a descriptor such as @daily or @every 12h, with an optional
// "CRON_TZ=Zone " or "TZ=Zone " in front; without a zone they are in UTC, so
// that every daemon reads them alike. The zero value is ready; it is safe for
// concurrent use and remembers what it has read.
//
// Daylight saving: a wall time that a spring day lacks does not fire on that
// day (02:30 in Berlin on the last Sunday of March), one that an autumn day has
// twice fires twice. Hours 4 to 23 are out of the way of that in nearly all
// zones.
type Calendar struct {
	mu    sync.Mutex
	specs map[string]reading        // spec → what it means
	zones map[string]*time.Location // zone → its one location; cron loads one per spec
}

// reading is what a spec was read as: a schedule or an error.
type reading struct {
	schedule cron.Schedule
	err      error
}

// Bounds of the memory: how many specs are remembered, beyond which the calendar
// starts anew, and how long each may be (one that names every value of every field has 356 bytes).
const (
	maxSpecs = 4096
	maxSpec  = 1024
)

// Next is the first firing after an instant; ok is false for a spec that never
// fires or cannot be read.
func (c *Calendar) Next(spec string, after time.Time) (next time.Time, ok bool) {
	schedule, err := c.read(spec)
	if err != nil {
		return time.Time{}, false
	}
	next = schedule.Next(after)
	return next, !next.IsZero()
}

// Parse says what is wrong with the text of a spec. One that is well-formed
// may still never fire.
func (c *Calendar) Parse(spec string) error {
	_, err := c.read(spec)
	return err
}

// Check says what is wrong with a spec, that it never fires included.
func (c *Calendar) Check(spec string, from time.Time) error {
	schedule, err := c.read(spec)
	if err != nil {
		return err
	}
	if schedule.Next(from).IsZero() {
		return fmt.Errorf("%q never fires", spec)
	}
	return nil
}

func (c *Calendar) read(spec string) (cron.Schedule, error) {
	if len(spec) > maxSpec {
		return nil, fmt.Errorf("a cron spec of %d bytes; want at most %d", len(spec), maxSpec)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.specs[spec]; ok {
		return known.schedule, known.err
	}
	schedule, err := c.parse(spec)
	if err != nil {
		err = fmt.Errorf("%q is not a cron spec: %w", spec, err)
	}
	if c.specs == nil || len(c.specs) >= maxSpecs {
		c.specs = map[string]reading{}
	}
	c.specs[spec] = reading{schedule, err}
	return schedule, err
}

// parse guards the parser, which panics on a time zone without a blank after
// it, and takes the zone out of its hands. The lock is held.
func (c *Calendar) parse(spec string) (schedule cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			schedule, err = nil, fmt.Errorf("%v", r)
		}
	}()
	zone, fields := time.UTC, strings.TrimSpace(spec)
	if rest, ok := cutZone(fields); ok {
		name, after, found := strings.Cut(rest, " ")
		if !found {
			return nil, errors.New("nothing follows the time zone; want CRON_TZ=Europe/Berlin 0 3 * * *")
		}
		if zone, err = c.zone(name); err != nil {
			return nil, err
		}
		fields = strings.TrimSpace(after)
	}
	switch _, nested := cutZone(fields); {
	case fields == "":
		return nil, errors.New("it is empty; want five fields or a descriptor such as @daily")
	case nested:
		return nil, errors.New("two time zones")
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	schedule, err = parser.Parse(fields)
	if err != nil {
		return nil, err
	}
	if s, ok := schedule.(*cron.SpecSchedule); ok {
		if s.Minute == 0 || s.Hour == 0 || s.Dom == 0 || s.Month == 0 || s.Dow == 0 {
			return nil, errors.New("a field names no value") // "," for one; the parser takes it
		}
		s.Location = zone
	}
	if text, ok := strings.CutPrefix(fields, "@every "); ok {
		if d, err := time.ParseDuration(text); err != nil || d < time.Second { // the parser makes a second of it
			return nil, errors.New("@every wants at least a second")
		}
	}
	return schedule, nil
}

// cutZone takes the prefix that announces a zone off.
func cutZone(spec string) (string, bool) {
	if rest, ok := strings.CutPrefix(spec, "CRON_TZ="); ok {
		return rest, true
	}
	return strings.CutPrefix(spec, "TZ=")
}

// zone is the one location of a name. "Local" and the empty name would mean
// something else on each machine.
func (c *Calendar) zone(name string) (*time.Location, error) {
	if zone, ok := c.zones[name]; ok {
		return zone, nil
	}
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("%q is not the same time zone everywhere; want a name such as Europe/Berlin", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("there is no time zone %q here; want a name such as Europe/Berlin", name)
	}
	if c.zones == nil {
		c.zones = map[string]*time.Location{}
	}
	c.zones[name] = zone // bounded by the zones that there are
	return zone, nil
}
