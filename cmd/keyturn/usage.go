package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/credential"
)

// usageReport is `usage -o json`.
type usageReport struct {
	Name   credential.Name `json:"name"`
	Issuer string          `json:"issuer"`
	// Items are those that were added up; Gone those that the issuer has no more.
	Items []string `json:"items"`
	Gone  []string `json:"gone,omitempty"`
	// From and To are days of UTC; the last one is not over.
	From     time.Time    `json:"from"`
	To       time.Time    `json:"to"`
	Days     []usageLine  `json:"days"`
	Services []usageTotal `json:"services"`
	Total    usageTotal   `json:"total"`
}

type usageLine struct {
	Day string `json:"day"` // YYYY-MM-DD of UTC
	usageTotal
}

type usageTotal struct {
	Service  string  `json:"service,omitempty"`
	Requests int64   `json:"requests"`
	Credits  float64 `json:"credits"`
}

// mostDays is how far back usage asks.
const mostDays = 366

func usageCommand(o *options) *cobra.Command {
	days := 30
	cmd := &cobra.Command{
		Use: "usage NAME", Short: "Show what a credential was used for: requests and credits by service and day", Args: cobra.ExactArgs(1),
		Long: `Show what the issuer counted for a credential, by service and day of UTC. Of one that
is moving to a new item, both are added up.

The numbers are of the whole credential: its two keys share them, so they cannot
prove that one of the keys is idle. Today is not over, and the portal may be behind.`,
		Example: "  keyturn usage maps/web\n  keyturn usage maps/web --days 90 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if days < 1 || days > mostDays {
				return usage(fmt.Errorf("--days %d: want 1 to %d", days, mostDays))
			}
			report, err := usageOf(cmd.Context(), o, args[0], days)
			if err != nil {
				return err
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return report.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&days, "days", days, "how many days back, with today")
	return cmd
}

func usageOf(ctx context.Context, o *options, name string, days int) (usageReport, error) {
	reader, state, err := o.one(ctx, name)
	if err != nil {
		return usageReport{}, err
	}
	defer reader.close()
	items := itemsOf(state)
	if len(items) == 0 {
		return usageReport{}, fmt.Errorf("%s has no key yet, so nothing was used (try: keyturn show %s)", state.Name, state.Name)
	}
	portal, err := reader.issuer(state.Spec.Issuer)
	if err != nil {
		return usageReport{}, err
	}
	defer portal.Close()
	now := wallClock().UTC()
	today := now.Truncate(24 * time.Hour)
	report := usageReport{Name: state.Name, Issuer: state.Spec.Issuer, From: today.AddDate(0, 0, 1-days), To: today, Items: []string{}}
	sums := map[credential.Usage]credential.Usage{} // day and service → what was counted
	for _, item := range items {
		used, err := portal.Usage(ctx, item, report.From, now)
		if credential.IsClass(err, credential.ClassNotFound) {
			report.Gone = append(report.Gone, item)
			continue
		}
		if err != nil {
			return usageReport{}, err
		}
		report.Items = append(report.Items, item)
		for _, u := range used {
			at := credential.Usage{Day: u.Day, Service: u.Service}
			sum := sums[at]
			sum.Day, sum.Service, sum.Requests, sum.Credits = u.Day, u.Service, sum.Requests+u.Requests, sum.Credits+u.Credits
			sums[at] = sum
		}
	}
	report.fill(sums)
	return report, nil
}

// fill adds up by day, by service and over all.
func (r *usageReport) fill(sums map[credential.Usage]credential.Usage) {
	services := map[string]usageTotal{}
	r.Days, r.Services = []usageLine{}, []usageTotal{}
	for _, u := range sums {
		line := usageTotal{u.Service, u.Requests, u.Credits}
		r.Days = append(r.Days, usageLine{u.Day.Format(time.DateOnly), line})
		services[u.Service] = services[u.Service].plus(line)
		r.Total = r.Total.plus(line)
	}
	slices.SortFunc(r.Days, func(a, b usageLine) int { return strings.Compare(a.Day+" "+a.Service, b.Day+" "+b.Service) })
	for _, service := range slices.Sorted(maps.Keys(services)) {
		total := services[service]
		total.Service = service
		r.Services = append(r.Services, total)
	}
}

func (t usageTotal) plus(other usageTotal) usageTotal {
	return usageTotal{Requests: t.Requests + other.Requests, Credits: t.Credits + other.Credits}
}

func (t usageTotal) cells(day, service string) []string {
	credits := strconv.FormatFloat(math.Round(t.Credits*1e4)/1e4, 'f', -1, 64)
	return []string{day, oneLine(service), strconv.FormatInt(t.Requests, 10), credits}
}

func (r usageReport) print(out io.Writer) error {
	var rows [][]string
	for _, line := range r.Days {
		rows = append(rows, line.cells(line.Day, line.Service))
	}
	for _, total := range r.Services {
		rows = append(rows, total.cells("total", total.Service))
	}
	rows = append(rows, r.Total.cells("total", "all"))
	if err := printTable(out, []string{"DAY", "SERVICE", "REQUESTS", "CREDITS"}, rows); err != nil {
		return err
	}
	notes := []string{fmt.Sprintf("%s at issuer %s, %s to %s; today is not over, and the portal may be behind.", r.Name, r.Issuer, r.From.Format(time.DateOnly), r.To.Format(time.DateOnly))}
	if len(r.Items) > 1 {
		notes = append(notes, fmt.Sprintf("It lives on %d items, which are added up: %s.", len(r.Items), strings.Join(r.Items, ", ")))
	}
	if len(r.Gone) > 0 {
		notes = append(notes, fmt.Sprintf("Not counted, as the issuer has them no more: %s.", strings.Join(r.Gone, ", ")))
	}
	notes = append(notes, "Its keys share these numbers, so they cannot prove that one of the keys is idle.")
	_, err := fmt.Fprintln(out, "\n"+strings.Join(notes, "\n"))
	return err
}
