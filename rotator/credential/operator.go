package credential

import (
	"fmt"
	"slices"
	"time"
)

// Freshness is how far the time of a request may be from a daemon's clock.
const Freshness = 5 * time.Minute

// KeepAnswers is how long answers are kept: longer than any request is fresh at
// any daemon. One may be dated ahead by Freshness, and clocks differ.
const KeepAnswers = 3 * Freshness

const (
	maxAnswers = 100
	// room for emergencies, which no flood of other requests may keep out
	maxEmergencies = 20
)

// Answered is a request that led to an event.
type Answered struct {
	ID       string    `json:"id"`
	Digest   string    `json:"digest"`
	Type     EventType `json:"type"`
	At       time.Time `json:"at"`
	Revision uint64    `json:"revision"`
}

// Answer returns what a request led to, if that was of late.
func (s State) Answer(request string) (Answered, bool) {
	for _, a := range s.Answered {
		if a.ID == request {
			return a, true
		}
	}
	return Answered{}, false
}

// refuseRepeat refuses a request that was answered before, and one that takes
// its id.
func (s State) refuseRepeat(c Asked, v View) error {
	before, ok := s.Answer(c.ID)
	most := maxAnswers
	if _, emergency := c.Command.(Compromise); emergency {
		most += maxEmergencies
	}
	switch {
	case ok && before.Digest == c.Digest:
		return ErrRepeated
	case ok:
		return fmt.Errorf("%w %s", ErrTaken, c.ID)
	case len(s.Answered) >= most && v.Now.Sub(s.Answered[0].At) < KeepAnswers:
		return fmt.Errorf("%w: %d requests of late; wait some minutes", ErrStale, len(s.Answered))
	}
	return nil
}

// answer remembers the request of an event, and forgets old ones.
func (s *State) answer(e Event) {
	s.Answered = slices.DeleteFunc(s.Answered, func(a Answered) bool { return e.At.Sub(a.At) >= KeepAnswers })
	if e.Digest != "" && len(s.Answered) < maxAnswers+maxEmergencies {
		s.Answered = append(s.Answered, Answered{e.Request, e.Digest, e.Fact.Type(), e.At, s.Revision})
	}
}

func register(s State, c Register, v View) (Fact, error) {
	if s.Status != StatusRegistered {
		return Registered{Spec: c.Spec, Frozen: c.Frozen}, nil
	}
	if s.Spec.Equal(c.Spec) {
		return nil, ErrNothing
	}
	spec := c.Spec
	updated := Updated{Spec: &spec}
	if primary, ok := s.Primary(); ok {
		// planned anew: a changed policy must not leave a due time of the old one
		updated.Due = spec.Policy.DueAt(s.Name, s.Generation, primary.Proven, primary.Expires, v.Calendar).UTC()
	}
	return updated, nil
}

func requestRotation(s State, c RequestRotation, v View) (Fact, error) {
	making := s.Rotation != nil && s.Rotation.Phase != PhaseDrain
	if making && !c.Now {
		return nil, fmt.Errorf("%w: rotation %s is already under way", ErrNothing, s.Rotation.ID)
	}
	return Updated{Request: &Request{ID: c.ID, Actor: c.Actor, Reason: c.Reason, Now: c.Now, Vault: c.Vault, At: v.Now.UTC()}}, nil
}

// acknowledge takes a consumer's word that it uses the new key of the open
// rotation, once for each key. That it uses the primary is no news.
func acknowledge(s State, c Acknowledge) (Fact, error) {
	if s.Spec.Policy.Confirm == nil || !slices.Contains(s.Spec.Policy.Confirm.Consumers, c.Consumer) {
		return nil, fmt.Errorf("%w: %q", ErrNotNamed, c.Consumer)
	}
	if r := s.Rotation; r != nil {
		seat, ok := s.Seat(r.Target)
		switch fresh := ok && seat.Fingerprint != "" && seat.Fingerprint == c.Fingerprint; {
		case fresh && slices.Contains(r.Acknowledged, c.Consumer):
			return nil, ErrNothing
		case fresh:
			return Acknowledged(c), nil
		}
	}
	if primary, ok := s.Primary(); ok && primary.Fingerprint == c.Fingerprint {
		return nil, fmt.Errorf("%w: no step waits for the key that is the primary already", ErrNothing)
	}
	return nil, fmt.Errorf("%w: that is not the new key of the open rotation (try: the fingerprint in Vault, once key.issued was told)", ErrStale)
}

func retryNow(s State) (Fact, error) {
	if len(s.Failures()) == 0 {
		return nil, fmt.Errorf("%w: no attempt has failed", ErrNothing)
	}
	return Updated{Retry: true}, nil
}

func putHold(s State, c PutHold, v View) (Fact, error) {
	if !c.Until.IsZero() && !c.Until.After(v.Now) {
		return nil, fmt.Errorf("%w: the hold would end at %s, which is over", ErrAbsurd, c.Until.UTC().Format(time.RFC3339))
	}
	if before := s.Hold; c.NoShorter && !c.Freeze && before.stands(v.Now) && !c.Until.IsZero() && (before.Until.IsZero() || c.Until.Before(before.Until)) {
		return nil, fmt.Errorf("%w for longer than that: by %s: %s", ErrHeld, before.Actor, before.Reason)
	}
	hold := Hold{Actor: c.Actor, Reason: c.Reason, Since: v.Now.UTC(), Until: c.Until.UTC()}
	if before := s.Frozen; c.Freeze && before.stands(v.Now) && before.Until.Equal(hold.Until) && before.Reason == c.Reason {
		return nil, fmt.Errorf("%w: it is frozen", ErrNothing)
	}
	return Held{Hold: hold, Freeze: c.Freeze}, nil
}

func release(s State, c Release) (Fact, error) {
	if (c.Freeze && s.Frozen == nil) || (!c.Freeze && s.Hold == nil) {
		return nil, ErrNothing
	}
	return Released{Reason: c.Reason, Freeze: c.Freeze}, nil
}

func (s *State) hold(f Held) {
	hold := f.Hold
	if f.Freeze {
		s.Frozen = &hold
	} else {
		s.Hold = &hold
	}
}

func (s *State) release(f Released) {
	if f.Freeze {
		s.Frozen = nil
	} else {
		s.Hold = nil
	}
}

// TooLate are the open claims that a hold no longer stops: what they are about
// to destroy dies until their end.
func (s State) TooLate() []Claim {
	var claims []Claim
	for _, c := range s.Claims {
		if seat, ok := s.Seat(c.Seat); ok && (c.Op == OpRevoke || (c.Op == OpGenerate && seat.Over != "")) {
			claims = append(claims, c)
		}
	}
	return claims
}
