package emulator

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// csv splits a list parameter. One client sends a literal [] for an empty list.
func csv(text string) []string {
	list := []string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" && part != "[]" {
			list = append(list, part)
		}
	}
	return list
}

// stringArray reads a JSON array of strings; a missing parameter is an empty list.
func (c *call) stringArray(name string) ([]string, error) {
	list := []string{}
	if !c.form.Has(name) {
		return list, nil
	}
	if err := json.Unmarshal([]byte(c.form.Get(name)), &list); err != nil || list == nil {
		return nil, errBad("'"+name+"' must be a JSON array of strings.", "Invalid JSON")
	}
	return list, nil
}

// number reads an integer parameter, or takes the default.
func (c *call) number(name string, otherwise int64) (int64, error) {
	text := c.form.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errBad("'" + name + "' must be a number.")
	}
	return n, nil
}

// paging is a window of a list; start counts from 1.
type paging struct{ start, num int }

func (c *call) paging(num int64) (paging, error) {
	start, err := c.number("start", 1)
	if err != nil {
		return paging{}, err
	}
	if num, err = c.number("num", num); err != nil {
		return paging{}, err
	}
	return paging{int(max(start, 1)), int(min(max(num, 0), 100))}, nil
}

// cut returns the window's bounds in a list of total elements, and where the next one starts (-1 = nowhere).
func (g paging) cut(total int) (from, to, next int) {
	from = min(g.start-1, total)
	to = min(from+g.num, total)
	if to >= total {
		return from, to, -1
	}
	return from, to, to + 1
}

// roundDate is how the portal stores an expiration date.
func roundDate(rounding string, ms int64) int64 {
	switch rounding {
	case RoundSecond:
		return ms - ms%1000
	case RoundEndOfDay:
		const day = int64(24 * time.Hour / time.Millisecond)
		return ms - ms%day + day - 1
	}
	return ms
}

// date checks and rounds an expiration date that a client wants to store.
func (p *Portal) date(c *call, name string) (int64, error) {
	ms, err := c.number(name, noDate)
	if err != nil || ms == noDate || ms == 0 {
		return noDate, err
	}
	now := c.now.UnixMilli()
	shortest, longest := now+p.cfg.MinLifetime.Milliseconds(), now+p.cfg.MaxLifetime.Milliseconds()
	knob, nearest, why := ExpirationAccept, ms, ""
	switch {
	case ms <= now:
		knob, nearest, why = c.knobs.ExpirationPast, shortest, "is in the past"
	case ms < shortest:
		knob, nearest, why = c.knobs.ExpirationTooShort, shortest, "is too soon"
	case ms > longest:
		knob, nearest, why = c.knobs.ExpirationTooLong, longest, "is too late"
	}
	switch knob {
	case ExpirationError:
		return 0, errBad("Invalid expiration date.", name+" "+why)
	case ExpirationClamp:
		ms = nearest
	}
	return roundDate(c.knobs.Rounding, ms), nil
}

// wholeSecond is the resolution of the portal's created and modified dates.
func wholeSecond(t time.Time) int64 { return t.Unix() * 1000 }
