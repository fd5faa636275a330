package arcgis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

const (
	day = 24 * time.Hour
	// usageDays is the longest time that one call asks for.
	usageDays = 60
)

// Usage is what each service counted for an item from one instant to another, in
// whole days of UTC, by day and service; the last day may be incomplete. It counts
// both slots together, and may be a day behind. A portal that does not tell is
// permanent.
func (p *Portal) Usage(ctx context.Context, item string, from, to time.Time) ([]credential.Usage, error) {
	r := request{name: "usage", op: "ask for the usage of item " + item, path: "/portals/self/usage"}
	if !from.Before(to) {
		return nil, p.fault(r, credential.ClassPermanent, errors.New("the time to ask for ends before it begins"), "")
	}
	seen, err := p.describe(ctx, item)
	if err != nil {
		return nil, err
	}
	type cell struct {
		day     time.Time
		service string
	}
	sums := map[cell]credential.Usage{}
	for begin := from.UTC().Truncate(day); begin.Before(to); begin = begin.Add(usageDays * day) {
		end := begin.Add(usageDays * day)
		if to.Before(end) {
			end = to.UTC().Add(day - time.Nanosecond).Truncate(day) // whole days
		}
		series, err := p.usage(ctx, r, seen.app.ClientID, begin, end)
		if err != nil {
			return nil, err
		}
		for _, s := range series {
			if s.AppID != "" && s.AppID != seen.app.ClientID {
				continue // the filter was not understood
			}
			for at, n := range s.days(s.Requests, begin, end) {
				c := cell{at, s.Service}
				u := sums[c]
				u.Requests += int64(n)
				sums[c] = u
			}
			for at, n := range s.days(s.Credits, begin, end) {
				c := cell{at, s.Service}
				u := sums[c]
				u.Credits += n
				sums[c] = u
			}
		}
	}
	used := make([]credential.Usage, 0, len(sums))
	for c, u := range sums {
		if u.Day, u.Service = c.day, c.service; u.Requests != 0 || u.Credits != 0 {
			used = append(used, u)
		}
	}
	slices.SortFunc(used, func(a, b credential.Usage) int {
		return cmp.Or(a.Day.Compare(b.Day), cmp.Compare(a.Service, b.Service))
	})
	return used, nil
}

// usageSeries is what one service counted: pairs of when a period begins, in epoch
// milliseconds, and a number.
type usageSeries struct {
	Service  string     `json:"stype"`
	AppID    string     `json:"appId"`
	Requests [][]figure `json:"num"`
	Credits  [][]figure `json:"credits"`
}

// figure is a number, which the portal writes as a string.
type figure float64

// UnmarshalJSON reads a number in either spelling.
func (f *figure) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseFloat(cmp.Or(word(text), string(text)), 64)
	if err != nil {
		return errors.New("not a number")
	}
	*f = figure(n)
	return nil
}

// days sums the pairs that lie within [from, to) by day.
func (usageSeries) days(pairs [][]figure, from, to time.Time) map[time.Time]float64 {
	sums := map[time.Time]float64{}
	for _, pair := range pairs {
		if len(pair) < 2 {
			continue
		}
		if at := date(float64(pair[0])); !at.Before(from) && at.Before(to) {
			sums[at.Truncate(day)] += float64(pair[1])
		}
	}
	return sums
}

// usage asks for [from, to).
func (p *Portal) usage(ctx context.Context, r request, clientID string, from, to time.Time) ([]usageSeries, error) {
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	r.form = url.Values{
		"startTime": {milliseconds(from)}, "endTime": {milliseconds(to.Add(-time.Millisecond))}, "period": {"1d"},
		"vars": {"num,credits"}, "groupby": {"stype,appId"}, "etype": {"svcusg"}, "appId": {clientID},
	}
	_, err := p.manage(ctx, r, &answer)
	switch code := codeOf(err); {
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed, code == http.StatusNotImplemented:
		return nil, p.fault(r, credential.ClassPermanent, errors.New("this portal does not tell usage"), "look for it on the portal's own pages")
	case code == http.StatusForbidden && credential.IsClass(err, credential.ClassDenied):
		return nil, reclassed(err, credential.ClassDenied, "give the manager's role the right to see the organisation's usage")
	case err != nil:
		return nil, err
	}
	var series []usageSeries
	if len(answer.Data) > 0 && json.Unmarshal(answer.Data, &series) != nil {
		return nil, p.garbled(r, "usage of another shape than expected")
	}
	return series, nil
}
