package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"time"
)

// shape is what a run looks like. All times follow from the lead time.
type shape struct {
	seed        uint64
	wanted      int // faults
	credentials int
	lead, life  time.Duration
	most        time.Duration // how long a fault lasts at most
	duration    time.Duration
	every       time.Duration
	dir         string
	bin         string
	disks       string
	tied        bool // to its standard input
}

func parseShape(args []string) (shape, error) {
	s := shape{}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.Uint64Var(&s.seed, "seed", 0, "choose the faults by this `number` (0: a random one)")
	flags.IntVar(&s.wanted, "faults", 1000, "how many faults")
	flags.IntVar(&s.credentials, "credentials", 200, "how many credentials, with an application each")
	flags.DurationVar(&s.lead, "lead", time.Minute, "lead time of a rotation")
	flags.DurationVar(&s.life, "lifetime", 0, "how long keys live (0: twice the lead time)")
	flags.DurationVar(&s.most, "hold", 0, "how long a fault lasts at most (0: as long as the assumptions allow)")
	flags.DurationVar(&s.duration, "duration", 2*time.Hour, "begin no fault after this time")
	flags.DurationVar(&s.every, "every", time.Second, "how often an application uses its key")
	flags.StringVar(&s.dir, "dir", "", "`directory` for everything; kept (empty: a temporary one, kept when a check fails)")
	flags.StringVar(&s.bin, "bin", "", "`directory` of keyturn and devvault (empty: bin of the repository)")
	flags.StringVar(&s.disks, "disks", "auto", "how disks are filled: auto, mount, limit")
	flags.BoolVar(&s.tied, "tied", false, "end when standard input closes, as with a parent that is killed")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 || s.wanted < 0 || s.credentials < 1 || s.credentials > 5000 || s.lead < 8*time.Second || s.every < 10*time.Millisecond || s.duration <= 0 || s.most < 0 || (s.most > 0 && s.most < 50*time.Millisecond) {
		return s, errors.New("want -faults of at least 0, 1 to 5000 -credentials, a -lead of at least 8s, a positive -duration and nothing else (try: -help)")
	}
	if s.disks != "auto" && s.disks != "mount" && s.disks != "limit" {
		return s, fmt.Errorf("-disks %q: want auto, mount or limit", s.disks)
	}
	if s.life == 0 {
		s.life = 2 * s.lead
	}
	if s.life < s.lead*5/4 {
		return s, errors.New("-lifetime: want at least five quarters of the lead time")
	}
	for s.seed == 0 {
		s.seed = rand.Uint64()
	}
	return s, nil
}

func (s shape) drain() time.Duration  { return s.lead / 6 }
func (s shape) settle() time.Duration { return s.lead / 60 }

// window is that of a claim, as keyturn takes it from the lead time.
func (s shape) window() time.Duration { return min(30*time.Second, s.lead/8) }

// hold is the longest time that one fault lasts: less than half a window, so
// that a call that is held up twice in a row still arrives within the margin.
func (s shape) hold() time.Duration {
	allowed := s.window() * 45 / 100
	if s.most > 0 {
		return min(s.most, allowed)
	}
	return allowed
}

// longHold is the longest pause of a daemon: longer than a claim and its margin.
func (s shape) longHold() time.Duration { return s.window() * 23 / 10 }

// timeout is that of a call to the portal.
func (s shape) timeout() time.Duration { return s.window() * 6 / 10 }

// clockLayout is how times are printed.
const clockLayout = "15:04:05.000"
