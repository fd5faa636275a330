package emulator

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// usageCounts counts the requests that keys made, per client id, service and hour. Both slots share a
// count, as they share a client id. It is not part of the journal.
type usageCounts struct {
	mu    sync.Mutex
	hours map[string]map[string]map[int64]int64 // client id → service → start of the hour in ms → requests
}

func newUsageCounts() *usageCounts {
	return &usageCounts{hours: map[string]map[string]map[int64]int64{}}
}

const (
	hourMS       = int64(time.Hour / time.Millisecond)
	usageKeptFor = 60 * 24 * time.Hour
	// ownService is what the resource counts as, unless it is asked in the name of another service.
	ownService = "emulator"
)

// price is what one request costs, in credits. It is made up.
func price(service string) float64 {
	switch service {
	case "geocode":
		return 0.04
	case "networkanalysis":
		return 0.005
	}
	return 0
}

func (u *usageCounts) count(clientID, service string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.hours[clientID] == nil {
		u.hours[clientID] = map[string]map[int64]int64{}
	}
	of := u.hours[clientID][service]
	if of == nil {
		of = map[int64]int64{}
		u.hours[clientID][service] = of
	}
	hour := now.UnixMilli() - now.UnixMilli()%hourMS
	if _, ok := of[hour]; !ok {
		for h := range of {
			if h < hour-usageKeptFor.Milliseconds() {
				delete(of, h)
			}
		}
	}
	of[hour]++
}

// services are those that an app used, in order.
func (u *usageCounts) services(clientID string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(maps.Keys(u.hours[clientID]))
}

// between is the number of requests in hours that begin in [from, to).
func (u *usageCounts) between(clientID, service string, from, to int64) (n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for hour, count := range u.hours[clientID][service] {
		if hour >= from && hour < to {
			n += count
		}
	}
	return n
}

type usageSeries struct {
	Etype    string      `json:"etype"`
	Stype    string      `json:"stype"`
	Username string      `json:"username"`
	AppID    string      `json:"appId"`
	Num      [][2]string `json:"num,omitempty"`
	Credits  [][2]string `json:"credits,omitempty"`
}

var usagePeriods = map[string]time.Duration{
	"1h": time.Hour, "1d": 24 * time.Hour, "1w": 7 * 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1m": 30 * 24 * time.Hour,
}

// usage reports the requests to the emulator's own resource. All numbers are strings.
func (p *Portal) usage(c *call) (any, error) {
	if c.knobs.NoUsage {
		return nil, errNotFound()
	}
	if err := p.ourOrg(c); err != nil {
		return nil, err
	}
	if c.who.kind != userToken {
		return nil, errForbidden()
	}
	now := c.now.UnixMilli()
	from, err1 := c.number("startTime", now-24*hourMS)
	to, err2 := c.number("endTime", now)
	period := c.form.Get("period")
	step := usagePeriods[period].Milliseconds()
	if err1 != nil || err2 != nil || from > to || (period != "" && step == 0) {
		return nil, errBad("Invalid time range or period.")
	}
	if period == "" {
		period, step = "1d", 24*hourMS
	}
	if (to-from)/step > 10_000 {
		return nil, errBad("Too many periods.")
	}
	seen := now - c.knobs.UsageLag.Milliseconds()
	all, data := p.isAdmin(c.who.user), []usageSeries{}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, id := range p.state.order {
		a := p.state.apps[p.state.items[id].ClientID]
		if a == nil || (!all && a.Owner != c.who.user) || !c.lets("appId", a.ClientID) || !c.lets("etype", serviceUsage) {
			continue
		}
		for _, service := range p.used.services(a.ClientID) {
			s := usageSeries{Etype: serviceUsage, Stype: service, Username: a.Owner, AppID: a.ClientID}
			var total int64
			for t := from - from%hourMS; t <= to; t += step {
				n := p.used.between(a.ClientID, service, t, min(t+step, seen))
				total += n
				at := strconv.FormatInt(t, 10)
				if c.lets("vars", "num") {
					s.Num = append(s.Num, [2]string{at, strconv.FormatInt(n, 10)})
				}
				if c.lets("vars", "credits") {
					s.Credits = append(s.Credits, [2]string{at, strconv.FormatFloat(float64(n)*price(service), 'f', 4, 64)})
				}
			}
			if total > 0 && c.lets("stype", service) {
				data = append(data, s)
			}
		}
	}
	return map[string]any{"startTime": from, "endTime": to, "period": period, "data": data}, nil
}

// serviceUsage is the only kind of usage that is counted here.
const serviceUsage = "svcusg"

// lets reports whether a filter, which may name several, lets a value pass. One that is not given does.
func (c *call) lets(filter, value string) bool {
	want := c.form.Get(filter)
	return want == "" || slices.Contains(csv(want), value)
}

// usageCost says that everything here is free.
func (p *Portal) usageCost(c *call) (any, error) {
	if err := p.ourOrg(c); err != nil {
		return nil, err
	}
	return map[string]any{"etype": c.form.Get("etype"), "stype": c.form.Get("stype"), "credits": 0}, nil
}

// report would make a CSV item; the emulator has no files.
func (p *Portal) report(*call) (any, error) {
	return nil, errBad("Unable to create report.", "the emulated portal makes no reports")
}
