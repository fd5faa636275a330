package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// dead is a key that was ours and no longer lives.
type dead struct {
	Name credential.Name   `json:"name"`
	Seat credential.SeatID `json:"seat"`
	Role credential.Role   `json:"role"`
	At   time.Time         `json:"died_at"`
	How  string            `json:"how"`
}

func (d dead) String() string {
	return fmt.Sprintf("it was the %s key of %s and is dead since %s: %s", d.Role, d.Name, clock(d.At), d.How)
}

// funerals looks in the record for how keys died.
type funerals struct {
	wanted map[credential.Fingerprint]bool
	seen   map[credential.Name][]alive
	found  map[credential.Fingerprint]dead
}

// alive is a wanted key on a seat of the state before.
type alive struct {
	key  credential.Fingerprint
	seat credential.Seat
}

func newFunerals(keys []credential.Fingerprint) *funerals {
	f := &funerals{wanted: map[credential.Fingerprint]bool{}, seen: map[credential.Name][]alive{}, found: map[credential.Fingerprint]dead{}}
	for _, key := range keys {
		f.wanted[key] = true
	}
	return f
}

// note takes the events in their order: a key that was on a seat and is on none
// after an event died by it.
func (f *funerals) note(e credential.Entry) error {
	var now []alive
	for _, seat := range e.State.Seats {
		for _, key := range fingerprintsOf(seat) {
			if f.wanted[key] {
				now = append(now, alive{key, seat})
				delete(f.found, key)
			}
		}
	}
	for _, was := range f.seen[e.Name] {
		if !slices.ContainsFunc(now, func(is alive) bool { return is.key == was.key }) {
			f.found[was.key] = dead{Name: e.Name, Seat: was.seat.SeatID, Role: was.seat.Role, At: e.Event.At, How: howDied(e.Event, was)}
		}
	}
	if len(now) > 0 || len(f.seen[e.Name]) > 0 {
		f.seen[e.Name] = now
	}
	return nil
}

func howDied(e credential.Event, was alive) string {
	leaked := ""
	if leak := was.seat.Leak; leak != nil {
		leaked = fmt.Sprintf(", because %s said that it leaked: %s", leak.Actor, leak.Reason)
	}
	if f, ok := e.Fact.(credential.Invalidated); ok {
		return string(f.How) + leaked
	}
	return "another key was generated over it" + leaked
}

// deaths looks for how keys died, in the whole record and once for all of them.
func (r *reader) deaths(ctx context.Context, keys []credential.Fingerprint) (map[credential.Fingerprint]dead, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	record, err := r.record(ctx)
	if err != nil {
		return nil, err
	}
	f := newFunerals(keys)
	return f.found, record.Replay(ctx, f.note)
}

// death says how one key of a credential died, by its history.
func (r *reader) death(ctx context.Context, name credential.Name, key string) (text string, ok bool, err error) {
	if !fingerprintForm.MatchString(key) {
		return "", false, nil
	}
	record, err := r.record(ctx)
	if err != nil {
		return "", false, err
	}
	f := newFunerals([]credential.Fingerprint{credential.Fingerprint(key)})
	err = record.History(ctx, name, f.note)
	died, ok := f.found[credential.Fingerprint(key)]
	return died.String(), ok, err
}

// notLiving says of the lines of a list that name nothing which lives whether
// they ever did.
func (r *reader) notLiving(ctx context.Context, unknown []item) ([]outcome, error) {
	var keys []credential.Fingerprint
	for _, i := range unknown {
		if i.key != "" {
			keys = append(keys, i.key)
		}
	}
	died, err := r.deaths(ctx, keys)
	if err != nil {
		return nil, err
	}
	outcomes := make([]outcome, 0, len(unknown))
	for _, i := range unknown {
		o := outcome{Name: i.name, Key: i.key, Result: resultNotFound, Detail: "no such credential"}
		if i.key != "" {
			o.Detail = "no key of this installation"
		}
		if d, ok := died[i.key]; ok {
			o.Name, o.Result, o.Detail = d.Name, resultAlready, d.String()
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// unknown is the error for a name that nobody registered; it names one that looks
// alike.
func (r *reader) unknown(ctx context.Context, name credential.Name) error {
	var names []string
	if entries, err := r.all(ctx); err == nil {
		for _, e := range entries {
			names = append(names, string(e.Name))
		}
	}
	return fmt.Errorf("%s: %w%s (try: keyturn list)", name, credential.ErrUnknown, strict.DidYouMean(string(name), names))
}
