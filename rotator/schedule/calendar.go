package schedule

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Calendar reads cron specs: five fields or a descriptor such as @daily, with
// an optional CRON_TZ=Zone in front. It remembers what it has read. Daylight
// saving: a time that a spring day lacks is skipped on that day, one that an
// autumn day has twice fires twice.
type Calendar struct {
	mu    sync.Mutex
	specs map[string]cron.Schedule // spec → what it means; nil = unreadable
}

// maxSpecs bounds the memory; beyond it the calendar starts anew.
const maxSpecs = 4096

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

// Check says what is wrong with a spec.
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if schedule, ok := c.specs[spec]; ok {
		if schedule == nil {
			return nil, fmt.Errorf("%q is not a cron spec", spec)
		}
		return schedule, nil
	}
	schedule, err := parse(spec)
	if err != nil {
		schedule = nil
		err = fmt.Errorf("%q is not a cron spec: %w", spec, err)
	}
	if c.specs == nil || len(c.specs) >= maxSpecs {
		c.specs = map[string]cron.Schedule{}
	}
	c.specs[spec] = schedule
	return schedule, err
}

// parse guards the parser, which panics on a time zone without a blank after it.
func parse(spec string) (cron.Schedule, error) {
	if zoned := strings.HasPrefix(spec, "CRON_TZ=") || strings.HasPrefix(spec, "TZ="); zoned && !strings.Contains(spec, " ") {
		return nil, errors.New("nothing follows the time zone")
	}
	return cron.ParseStandard(spec)
}
