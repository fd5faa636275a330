package schedule

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/keyturn/keyturn/rotator/credential"
)

var _ credential.Calendar = (*Calendar)(nil)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestCalendarNext(t *testing.T) {
	for _, test := range []struct{ name, spec, after, want string }{
		{"five fields are in UTC", "0 3 * * *", "2026-01-10T12:00:00+05:00", "2026-01-11T03:00:00Z"},
		{"a descriptor", "@monthly", "2026-01-10T12:00:00Z", "2026-02-01T00:00:00Z"},
		{"a descriptor in a zone", "CRON_TZ=Europe/Berlin @daily", "2026-01-10T12:00:00Z", "2026-01-11T00:00:00+01:00"},
		{"TZ is CRON_TZ", "TZ=Europe/Berlin 0 3 * * *", "2026-07-10T12:00:00Z", "2026-07-11T03:00:00+02:00"},
		{"blanks around it", "  CRON_TZ=Europe/Berlin   0 3 * * * ", "2026-07-10T12:00:00Z", "2026-07-11T03:00:00+02:00"},
		{"an interval", "@every 90m", "2026-01-10T12:00:00Z", "2026-01-10T13:30:00Z"},
		{"strictly after", "0 3 * * *", "2026-01-10T03:00:00Z", "2026-01-11T03:00:00Z"},
		{"spring has no 02:30: the day is left out", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T02:30:00+02:00"},
		{"spring has 03:00", "CRON_TZ=Europe/Berlin 0 3 * * *", "2026-03-28T12:00:00Z", "2026-03-29T03:00:00+02:00"},
		{"autumn has 02:30 the first time", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T02:30:00+02:00"},
		{"autumn has 02:30 a second time", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"},
		{"after both it is tomorrow", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"},
		{"Sao Paulo had no midnight: the day is left out", "CRON_TZ=America/Sao_Paulo @daily", "2018-11-03T12:00:00-03:00", "2018-11-05T00:00:00-02:00"},
		{"a leap day", "0 0 29 2 *", "2026-01-10T12:00:00Z", "2028-02-29T00:00:00Z"},
		{"day of month or day of week", "0 0 13 * FRI", "2026-01-10T12:00:00Z", "2026-01-13T00:00:00Z"},
		{"never", "0 0 31 2 *", "2026-01-10T12:00:00Z", ""},
		{"unreadable", "0 3 * *", "2026-01-10T12:00:00Z", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c Calendar
			for range 2 { // the second answer is from memory
				next, ok := c.Next(test.spec, at(t, test.after))
				if test.want == "" {
					if ok || !next.IsZero() {
						t.Fatalf("fires at %v", next)
					}
					continue
				}
				if want := at(t, test.want); !ok || !next.Equal(want) {
					t.Fatalf("fires at %v, want %v", next, want)
				}
			}
		})
	}
}

func TestCalendarSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ spec, want string }{
		{"", "it is empty"},
		{"CRON_TZ=Europe/Berlin", "nothing follows the time zone"},
		{"TZ=", "nothing follows the time zone"},
		{"CRON_TZ=Europe/Berlin ", "nothing follows the time zone"},
		{"CRON_TZ=Europe/Berlin\t0 3 * * *", "no time zone"},
		{"CRON_TZ= 0 3 * * *", "not the same time zone everywhere"},
		{"CRON_TZ=Local 0 3 * * *", "not the same time zone everywhere"},
		{"CRON_TZ=Europe/Berlim 0 3 * * *", `no time zone "Europe/Berlim"`},
		{"CRON_TZ=../../etc/passwd 0 3 * * *", "no time zone"},
		{"CRON_TZ=UTC TZ=UTC", "two time zones"},
		{"0 3 * *", "expected exactly 5 fields, found 4"},
		{"0 0 3 * * *", "expected exactly 5 fields, found 6"},
		{"61 3 * * *", "above maximum (59)"},
		{", 3 * * *", "names no value"},
		{"@fortnightly", "unrecognized descriptor"},
		{"@every 1ms", "at least a second"},
		{"@every -1h", "at least a second"},
	} {
		t.Run(test.spec, func(t *testing.T) {
			var c Calendar
			for range 2 {
				err := c.Parse(test.spec)
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), fmt.Sprintf("%q is not a cron spec: ", test.spec)) {
					t.Fatalf("got %v, want %q", err, test.want)
				}
			}
		})
	}
	var c Calendar
	if err := c.Parse(strings.Repeat("0", maxSpec) + " 3 * * *"); err == nil || err.Error() != "a cron spec of 1032 bytes; want at most 1024" || len(c.specs) != 0 {
		t.Error(err)
	}
	now := at(t, "2026-01-10T12:00:00Z")
	if err := c.Parse("0 0 31 2 *"); err != nil {
		t.Error(err)
	}
	if err := c.Check("0 0 31 2 *", now); err == nil || err.Error() != `"0 0 31 2 *" never fires` {
		t.Error(err)
	}
	if err := c.Check("0 3 * * *", now); err != nil {
		t.Error(err)
	}
	if err := c.Check("nonsense", now); err == nil {
		t.Error("nonsense passed")
	}
}

func TestCalendarMemoryIsBounded(t *testing.T) {
	var c Calendar
	for i := range 3 * maxSpecs {
		if err := c.Parse(fmt.Sprintf("CRON_TZ=Europe/Berlin %d %d %d * *", i%60, i/60%24, 1+i/1440)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.specs) > maxSpecs || len(c.zones) != 1 {
		t.Errorf("%d specs, %d zones", len(c.specs), len(c.zones))
	}
	var last *time.Location
	for _, known := range c.specs {
		location := known.schedule.(*cron.SpecSchedule).Location
		if last != nil && location != last {
			t.Fatal("two locations for one zone")
		}
		last = location
	}
}

func TestCalendarIsSafeForConcurrentUse(t *testing.T) {
	var c Calendar
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 200 {
				spec := fmt.Sprintf("CRON_TZ=Europe/Berlin %d %d * * *", n%60, 4+n%3) // the same ones in all; Berlin is an hour ahead
				if next, ok := c.Next(spec, time.Unix(0, 0).UTC()); !ok || next.Minute() != n%60 || next.Hour() != 3+n%3 {
					t.Errorf("%d: %s fires at %v", i, spec, next)
				}
			}
		})
	}
	wait.Wait()
}

func FuzzCalendar(f *testing.F) {
	for _, spec := range []string{"0 3 * * *", "CRON_TZ=Europe/Berlin 0 3 1 * *", "TZ=", "@every 1h", "@daily", ",", "*/0 * * * *", "1-5/2,7 0 ? JAN MON"} {
		f.Add(spec, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, spec string, unix int64) {
		if unix < 0 || unix > 4_000_000_000 {
			return
		}
		var c Calendar
		after := time.Unix(unix, 0)
		next, ok := c.Next(spec, after)
		if ok && !next.After(after) {
			t.Errorf("%q fires at %v, not after %v", spec, next, after)
		}
		if ok && c.Parse(spec) != nil {
			t.Errorf("%q fires but does not parse", spec)
		}
	})
}
