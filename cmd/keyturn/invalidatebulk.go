package main

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// bulk is about all that are selected: the record is read once and followed
// once, whatever their number.
func (r *invalidating) bulk(ctx context.Context, list []item) error {
	entries, err := r.reader.all(ctx)
	if err != nil {
		return r.glassHint(err)
	}
	record, err := r.reader.record(ctx)
	if err != nil {
		return err
	}
	chosen := r.selection.pick(entries, list, wallClock())
	if r.key == "" { // the list has fingerprints only
		for _, t := range chosen.targets {
			if t.key == "" {
				return usage(fmt.Errorf("nothing was sent: %s is a name, so which of its keys? Give --key as well", t.name))
			}
		}
	}
	var after uint64
	for _, e := range entries {
		after = max(after, e.Head.Sequence)
	}
	outcomes, err := r.reader.notLiving(ctx, chosen.unknown)
	if err != nil {
		return err
	}
	if r.dryRun {
		for _, t := range chosen.targets {
			outcomes = append(outcomes, r.would(t))
		}
		return reportOf(outcomes, chosen.leftOut).print(r.out, r.output, true)
	}
	if r.client, err = r.reader.client(ctx); err != nil {
		return err
	}
	if r.before, err = r.reader.emergencies(ctx, record, entries, r.reason); err != nil {
		return err
	}
	for _, t := range chosen.targets {
		r.forgetLater(t.name, t.state)
	}
	states, bare := make([]credential.State, 0, len(chosen.targets)), 0
	for _, t := range chosen.targets {
		states = append(states, t.state)
		if r.bares(t) {
			bare++
		}
	}
	if bare > 0 {
		_, _ = fmt.Fprintf(r.warn, "keyturn: WARNING: applications have no working key of %d credentials until each replacement is promoted\n", bare)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	r.follow = follow(watching, record, states, after, nil)
	deadline, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	shown := startProgress(ctx, r.warn, func() string {
		return fmt.Sprintf("%s, %d asked for", bar(int(r.ended.Load()), len(chosen.targets)), r.asked.Load())
	})
	// all are followed at once; what bounds them is how many are asked for at a time
	outcomes = append(outcomes, each(chosen.targets, len(chosen.targets), func(t target) outcome { return r.one(deadline, t, nil) })...)
	shown.stop()
	report := reportOf(outcomes, chosen.leftOut)
	if err := report.print(r.out, r.output, false); err != nil {
		return err
	}
	return report.end()
}

// emergency is one that was asked for of late.
type emergency struct {
	at         time.Time
	generation uint64 // of the credential when it was last asked for
	keys       []credential.LeakedKey
}

// sameEmergency is how long a command that is run again is the same emergency:
// what was a primary key then has been replaced since, and its successor is not
// what was meant.
const sameEmergency = 24 * time.Hour

// keysFor are the keys that the same command was about before; nil = there was
// none, or a single key is named, which is nobody else.
func (e emergency) keysFor(key string, single credential.Fingerprint) []credential.LeakedKey {
	if single != "" || fingerprintForm.MatchString(key) {
		return nil
	}
	var keys []credential.LeakedKey
	for _, k := range e.keys {
		if key == credential.KeyAll || (k.Role == credential.RolePrimary) == (key == credential.KeyPrimary) {
			keys = append(keys, k)
		}
	}
	return keys
}

// emergencies collects those with a reason.
type emergencies struct {
	reason string
	since  time.Time
	found  map[credential.Name]emergency
}

func (s *emergencies) note(e credential.Entry) error {
	fact, ok := e.Event.Fact.(credential.Compromised)
	if !ok || fact.Leak.Reason != s.reason || e.Event.At.Before(s.since) {
		return nil
	}
	if s.found == nil {
		s.found = map[credential.Name]emergency{}
	}
	before, ok := s.found[e.Name]
	if !ok {
		before.at = e.Event.At
	}
	before.keys, before.generation = append(before.keys, fact.Keys...), e.State.Generation
	s.found[e.Name] = before
	return nil
}

// emergencies reads the last day once for all.
func (r *reader) emergencies(ctx context.Context, record *publisher.Record, entries []credential.Entry, reason string) (map[credential.Name]emergency, error) {
	found := emergencies{reason: reason, since: wallClock().Add(-sameEmergency)}
	var last credential.Entry
	for _, e := range entries {
		if e.Head.Sequence > last.Head.Sequence {
			last = e
		}
	}
	if last.Event.At.Before(found.since.Add(time.Minute)) {
		return nil, nil // and nothing would come to end the reading at
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	err := record.WatchSince(reading, found.since, func(e credential.Entry) {
		_ = found.note(e)
		if e.Head.Sequence >= last.Head.Sequence {
			stop()
		}
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("what was asked for of late cannot be read: %w", err)
	}
	return found.found, nil
}
