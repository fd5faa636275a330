package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// maxUnreadable is how many events that cannot be read are named; all are counted.
const maxUnreadable = 100

// auditSource reads events for the audit, and notes what it could not read: an
// audit that leaves something out says so.
type auditSource struct {
	*reader
	record *publisher.Record

	mu         sync.Mutex
	unreadable []report.Unreadable
	left       int // further ones
}

// audited opens the record for reading; the source is the caller's to close.
func (o *options) audited(ctx context.Context) (*auditSource, error) {
	r, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &auditSource{reader: r}
	if s.record, err = openRecord(ctx, r.config, r.conn, publisher.Config{OnBad: s.bad}); err != nil {
		r.close()
		return nil, err
	}
	return s, nil
}

func (s *auditSource) bad(subject string, sequence uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unreadable) == maxUnreadable {
		s.left++
		return
	}
	s.unreadable = append(s.unreadable, report.Unreadable{Sequence: sequence, Subject: subject, Why: err.Error()})
}

// forget begins anew, before the events are read once more.
func (s *auditSource) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreadable, s.left = nil, 0
}

// events reads those of one credential, or of all for an empty name.
func (s *auditSource) events(ctx context.Context, only credential.Name) func(func(credential.Entry) error) error {
	return func(fn func(credential.Entry) error) error {
		if only == "" {
			return s.record.Replay(ctx, fn)
		}
		return s.record.History(ctx, only, fn)
	}
}

// missing are the events that could not be read, by sequence.
func (s *auditSource) missing() []report.Unreadable {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := append([]report.Unreadable{}, s.unreadable...)
	slices.SortFunc(list, func(a, b report.Unreadable) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return list
}

// complete is an error if something could not be read.
func (s *auditSource) complete() error {
	list := s.missing()
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%d events cannot be read and are left out, the first is %d on %s: %s (try: keyturn audit verify)",
		len(list)+s.left, list[0].Sequence, list[0].Subject, list[0].Why)
}
