package schedule

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// Lister is an issuer that lists its keys by expiry.
type Lister interface {
	Expiring(ctx context.Context, until time.Time) ([]credential.ExpiringKey, error)
}

// Sweeper re-reads everything now and then, so that a lost wake-up or a key
// changed by hand costs one sweep at most.
type Sweeper struct {
	// Spec is the cron spec of the sweeps; Specs brings another one, and may be nil.
	Spec  string
	Specs <-chan string
	// Soon asks for a sweep at once; it may be nil.
	Soon     <-chan struct{}
	Calendar credential.Calendar
	// Recover calls back with the last event of each credential, one at a time.
	Recover func(ctx context.Context, each func(credential.Entry) error) error
	// Plan says when a recovered credential is to be looked at.
	Plan func(credential.Entry) Wake
	// Issuers: configured name → issuer.
	Issuers map[string]Lister
	// Strays looks for what unanswered calls left at an issuer, and returns the
	// credentials that have something to do now; nil = it is not looked for. It is
	// called for several issuers at a time.
	Strays    func(ctx context.Context, issuer string, of Recorded) ([]credential.Name, error)
	Scheduler *Scheduler
	Now       func() time.Time
	Logger    *zap.Logger
}

// Recorded is what the record has of an issuer.
type Recorded struct {
	// Names are its credentials, removed ones too.
	Names []credential.Name
	// Items are those that the credentials name.
	Items map[string]bool
}

// Run sweeps on its cron spec until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	spec := s.Spec
	for {
		next, ok := s.Calendar.Next(spec, s.Now())
		if !ok {
			return fmt.Errorf("sweep: %q never fires", spec)
		}
		timer := time.NewTimer(next.Sub(s.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case spec = <-s.Specs:
			timer.Stop()
			continue
		case <-s.Soon:
			timer.Stop()
		case <-timer.C:
		}
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Logger.Warn("sweep failed; the next one is not", zap.Error(err))
		}
	}
}

// listed is what the issuers say: issuer → seat → expiry.
type listed map[string]map[credential.SeatID]time.Time

// tolerance is how far two accounts of an expiry may differ.
const tolerance = 2 * time.Second

// Sweep re-reads the record set, plans each credential, has those probed whose
// expiry the issuer names otherwise, and looks for strays.
func (s *Sweeper) Sweep(ctx context.Context) error {
	horizon := s.Now().Add(credential.MaxLifetime + 48*time.Hour)
	said := listed{}
	for name, issuer := range s.Issuers {
		keys, err := issuer.Expiring(ctx, horizon)
		if err != nil {
			s.Logger.Warn("the issuer's own list of keys could not be read", zap.String(logkey.Issuer, name), zap.Error(err))
			continue
		}
		said[name] = make(map[credential.SeatID]time.Time, len(keys))
		for _, key := range keys {
			said[name][key.Seat] = key.Expires
		}
	}
	recorded := map[string]Recorded{} // issuer → what the record has of it
	for name := range s.Issuers {
		recorded[name] = Recorded{Items: map[string]bool{}}
	}
	if err := s.Recover(ctx, func(entry credential.Entry) error {
		issuer := entry.State.Spec.Issuer
		if of, ok := recorded[issuer]; ok {
			of.Names = append(of.Names, entry.Name)
			for _, item := range entry.State.Items() {
				of.Items[item] = true
			}
			recorded[issuer] = of
		}
		s.Scheduler.Set(entry.Name, s.Plan(entry))
		if said.differs(entry.State, s.Now()) {
			s.Scheduler.Probe(entry.Name, issuer)
		}
		return nil
	}); err != nil {
		return err
	}
	s.strays(ctx, recorded)
	return nil
}

// strays looks for them at all issuers side by side: the list of a large one takes
// its time.
func (s *Sweeper) strays(ctx context.Context, recorded map[string]Recorded) {
	if s.Strays == nil {
		return
	}
	var group sync.WaitGroup
	for issuer := range s.Issuers {
		group.Go(func() {
			of, err := s.Strays(ctx, issuer, recorded[issuer])
			if err != nil && ctx.Err() == nil {
				s.Logger.Warn("items that unanswered calls left could not be looked for; the next sweep does", zap.String(logkey.Issuer, issuer), zap.Error(err))
			}
			for _, name := range of {
				s.Scheduler.Look(name, issuer)
			}
		})
	}
	group.Wait()
}

// differs reports whether the issuer names another expiry of the primary than
// the record, or none. A list that could not be read says nothing.
func (l listed) differs(s credential.State, now time.Time) bool {
	keys, read := l[s.Spec.Issuer]
	primary, ok := s.Primary()
	if !read || !ok || now.After(primary.Expires) {
		return false
	}
	expires, there := keys[primary.SeatID]
	return !there || expires.Sub(primary.Expires).Abs() > tolerance
}
