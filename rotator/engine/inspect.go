package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Inspect compares what the record, the issuer and Vault say of the primary key,
// and records each difference once: what is safe to heal, the pass that follows
// heals; all else waits for an operator. It changes nothing at the issuer and in
// Vault. Again is when a suspicion is looked at again; zero = as usual.
func (e *Engine) Inspect(ctx context.Context, name credential.Name) (again time.Duration, err error) {
	w := &work{engine: e, name: name}
	if err := e.load(ctx, w); err != nil {
		return 0, err
	}
	if _, ok := w.state.Primary(); w.state.Status != credential.StatusRegistered || (!ok && w.state.Removing == nil) {
		return 0, nil
	}
	issuer, err := e.issuer(w)
	if err != nil {
		return 0, nil //nolint:nilerr // said by the pass that follows
	}
	w.issuer = issuer
	look := &inspection{work: w}
	parts := []func(context.Context) ([]credential.Found, error){look.issuer, look.vault, look.key, look.left}
	if w.state.Removing != nil { // only what keeps an item from being deleted matters
		parts = parts[len(parts)-1:]
	}
	for _, part := range parts {
		found, err := part(ctx)
		if err != nil {
			return 0, err
		}
		about, _ := w.state.Primary()
		for _, f := range found {
			if now, _ := w.state.Primary(); now.SeatID != about.SeatID || now.Mint != about.Mint {
				break // another daemon was first, and this was seen of a key that was replaced
			}
			if err := e.commit(ctx, w, f); err != nil {
				return 0, err
			}
		}
	}
	return look.again, nil
}

// inspection is one look at a credential.
type inspection struct {
	*work
	status credential.ItemStatus
	listed uint64            // the mint of the primary whose status the issuer has told; 0 = none
	there  credential.Stored // what Vault holds
	read   bool
	again  time.Duration
}

// knows reports whether a finding of that kind about a seat stands.
func (i *inspection) knows(kind credential.FindingKind, seat credential.SeatID) bool {
	return slices.ContainsFunc(i.state.Drift, func(d credential.Finding) bool { return d.Kind == kind && d.Seat == seat })
}

// differs is a finding that is true now, or no longer: only what changes is told.
func (i *inspection) differs(kind credential.FindingKind, seat credential.SeatID, is bool, format string, args ...any) []credential.Found {
	known := i.knows(kind, seat)
	if on, _ := i.state.Seat(seat); !is && kind == credential.FindingKeyReplaced {
		known = known || on.Replaced // the rotation that it was begun for has taken the finding
	}
	if is == known {
		return nil
	}
	finding := credential.Finding{Kind: kind, Seat: seat, Detail: fmt.Sprintf(format, args...)}
	if !is {
		finding.Detail = "it is no longer so"
	}
	return []credential.Found{{Finding: finding, Healed: !is}}
}

// issuer looks at the item: gone, the primary's slot inactive, another expiry, an
// unknown key beside it, other settings. Silence and denials say nothing.
func (i *inspection) issuer(ctx context.Context) (found []credential.Found, err error) {
	primary, _ := i.state.Primary()
	i.status, err = i.work.issuer.Describe(ctx, primary.Item)
	switch {
	case credential.IsClass(err, credential.ClassNotFound):
		return i.differs(credential.FindingItemMissing, primary.SeatID, true, "item %s is gone at the issuer", primary.Item), nil
	case err != nil:
		return nil, nil //nolint:nilerr // the next look asks again
	}
	i.listed = primary.Mint
	slot := i.status.Slot(primary.Slot)
	if !slot.Active {
		found = i.differs(credential.FindingKeyRefused, primary.SeatID, true, "slot %d of item %s is inactive at the issuer", primary.Slot, primary.Item)
	} else if !slot.Expires.IsZero() && !slot.Expires.Equal(primary.Expires) && i.believable(slot.Expires) {
		found = append(found, expiryDiffers(primary, slot.Expires).Found)
	}
	idle := primary.Sibling()
	if _, ours := i.state.Seat(idle); !ours {
		found = append(found, i.differs(credential.FindingUnknownKey, idle, alive(i.status, idle.Slot),
			"slot %d of item %s holds an active key that keyturn did not make", idle.Slot, idle.Item)...)
	}
	if i.status.Settings != "" && primary.Told != "" {
		found = append(found, i.differs(credential.FindingSettings, primary.SeatID, i.status.Settings != primary.Told,
			"privileges, items or referrers of item %s were edited at the issuer since the key was made", primary.Item)...)
	}
	return found, nil
}

// believable reports whether a key can end then: a date that cannot be true moves no
// plan, and would be refused at each look.
func (i *inspection) believable(expires time.Time) bool {
	now := i.engine.view(i.work).IssuerNow()
	return !expires.After(now.Add(credential.MaxLifetime + 24*time.Hour))
}

// vault looks at the secret. A version that is decided from a later event than this
// state makes the record be read again.
func (i *inspection) vault(ctx context.Context) ([]credential.Found, error) {
	there, err := i.engine.config.Store.Read(ctx, i.name)
	i.noteReachable(err)
	if err != nil {
		return nil, nil //nolint:nilerr // the next look asks again
	}
	if there.Revision > i.state.Revision {
		if err := i.engine.load(ctx, i.work); err != nil {
			return nil, err
		}
	}
	if _, ok := i.state.Primary(); !ok {
		return nil, nil
	}
	i.there, i.read = there, true
	kind, detail := credential.FindingVaultChanged, ""
	key := there.Primary
	switch {
	case i.accepted(there):
		return nil, nil
	case there.Missing:
		kind, detail = credential.FindingVaultMissing, "the secret is gone from Vault"
	case there.Revision == 0:
		detail = "it carries no revision"
	case there.Revision > i.state.Revision:
		detail = fmt.Sprintf("it carries revision %d, which the record does not know", there.Revision)
	case there.Version < i.state.Vault.Version:
		detail = fmt.Sprintf("the record has seen version %d", i.state.Vault.Version)
	case key.Secret.Fingerprint() != key.Fingerprint || !slices.ContainsFunc(i.state.Seats, func(s credential.Seat) bool { return s.Fingerprint == key.Fingerprint || s.Over == key.Fingerprint }):
		detail = "its api_key is no key of the record"
	default:
		i.engine.trust(i.name, inVault)
		return i.restored(), nil
	}
	if there.Version < i.state.Vault.Version { // an answer may be older than what was written
		settle := max(i.state.Spec.Policy.Settle.Std(), leastOutage)
		if seen, _ := i.engine.suspect(i.name, inVault, there.Version, i.apart()); seen < settle {
			i.again = settle - seen
			return nil, nil
		}
	}
	if kind == credential.FindingVaultChanged {
		detail = fmt.Sprintf("version %d in Vault was not written by keyturn as the record says: %s", there.Version, detail)
	}
	return []credential.Found{{Finding: credential.Finding{Kind: kind, Version: there.Version, Detail: detail}}}, nil
}

// restored ends what was found in Vault: it is exactly as the record says again.
func (i *inspection) restored() (found []credential.Found) {
	for _, d := range i.state.Drift {
		ours := d.Kind == credential.FindingVaultChanged || d.Kind == credential.FindingVaultMissing
		if ours && i.there.Version == i.state.Vault.Version {
			d.Detail = "it is no longer so"
			found = append(found, credential.Found{Finding: d, Healed: true})
		}
	}
	return found
}

// suspicion is something that must be so for a while before it is believed: a primary
// that the issuer refuses, a Vault that shows an old version.
type suspicion struct {
	of          uint64 // the mint, or the version
	since, last time.Time
	times       int
}

// refusals is how often a key must be refused, one time after the other, besides
// throughout the settle time.
const refusals = 4

// about is what a suspicion is about.
type about struct {
	name credential.Name
	what string
}

const inVault, atIssuer = "vault", "key"

// key uses the primary key. One that is refused throughout the settle time, while
// the issuer accepts the manager, is dead, whatever its slot says.
func (i *inspection) key(ctx context.Context) ([]credential.Found, error) {
	primary, _ := i.state.Primary()
	if !i.read || i.there.Primary.Fingerprint != primary.Fingerprint || i.there.Primary.Secret.Empty() {
		return nil, nil
	}
	_, err := i.work.issuer.Probe(ctx, credential.ProbeRequest{
		Key: i.there.Primary.Secret, Item: primary.Item, Referrers: i.state.Spec.Item.Referrers,
	})
	slot := i.status.Slot(primary.Slot)
	switch {
	case err == nil:
		i.engine.trust(i.name, atIssuer)
		if i.listed == primary.Mint && slot.Active { // both agree: an earlier finding was wrong, or somebody restored it
			var found []credential.Found
			for _, kind := range []credential.FindingKind{credential.FindingKeyRefused, credential.FindingKeyReplaced, credential.FindingItemMissing} {
				found = append(found, i.differs(kind, primary.SeatID, false, "")...)
			}
			return found, nil
		}
		return nil, nil
	case !credential.IsClass(err, credential.ClassDenied) || i.listed != primary.Mint:
		return nil, nil
	}
	settle := i.state.Spec.Policy.Settle.Std()
	if refused, times := i.engine.suspect(i.name, atIssuer, primary.Mint, i.apart()); refused < settle || times < refusals {
		i.again = max(settle/refusals, 50*time.Millisecond)
		return nil, nil
	}
	if !slot.Active {
		return nil, nil // found already
	}
	return i.differs(credential.FindingKeyReplaced, primary.SeatID, true,
		"the issuer refuses the key, and slot %d of item %s is active: somebody generated another key there", primary.Slot, primary.Item), nil
}

// left looks again at old items that could not be deleted. What Vault shows of a
// credential that is being removed keeps none of them.
func (i *inspection) left(ctx context.Context) (found []credential.Found, err error) {
	for _, d := range i.state.Drift {
		if d.Kind != credential.FindingItemInUse {
			continue
		}
		shown := !i.read || i.there.Primary.Seat == d.Seat || (i.there.Secondary.Seat == d.Seat && !i.there.Secondary.Secret.Empty())
		if shown && i.state.Removing == nil {
			continue
		}
		status, err := i.work.issuer.Describe(ctx, d.Seat.Item)
		gone := credential.IsClass(err, credential.ClassNotFound) || credential.IsClass(err, credential.ClassPermanent)
		if gone || (err == nil && !alive(status, d.Seat.Slot)) {
			found = append(found, i.differs(d.Kind, d.Seat, false, "")...)
		}
	}
	return found, nil
}

// apart is how far two looks at a suspicion may be from one another: an issuer that is
// slow, or a machine that is busy, must not end it.
func (i *inspection) apart() time.Duration {
	p := i.state.Spec.Policy
	return 2 * (p.Settle.Std() + p.ProbeInterval())
}

// suspect tells how long something has been so, and how often it was seen. Two sights with much time between
// them are two suspicions: who knows how it was in between.
func (e *Engine) suspect(name credential.Name, what string, of uint64, apart time.Duration) (so time.Duration, times int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.config.Now()
	key := about{name, what}
	s, ok := e.suspects[key]
	if !ok || s.of != of || now.Sub(s.last) > apart || now.Before(s.last) {
		s = suspicion{of: of, since: now}
	}
	s.last = now
	s.times++
	e.suspects[key] = s
	return now.Sub(s.since), s.times
}

func (e *Engine) trust(name credential.Name, what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.suspects, about{name, what})
}

// expiryDiffers is the finding that the issuer names another date than the record.
func expiryDiffers(seat credential.Seat, said time.Time) *foundError {
	return &foundError{credential.Found{Expires: said, Finding: credential.Finding{
		Kind: credential.FindingExpiry, Seat: seat.SeatID,
		Detail: fmt.Sprintf("the issuer names %s, the record named %s", said.UTC().Format(time.RFC3339), seat.Expires.UTC().Format(time.RFC3339)),
	}}}
}
