package peers

import (
	"maps"
	"slices"
	"time"
)

// Heartbeat is what a daemon says of itself. Fields may be added; what a reader
// does not know it leaves out.
type Heartbeat struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	// Digest is that of the configuration in use.
	Digest string `json:"config"`
	// Schema is the newest schema of the record that the daemon writes.
	Schema int `json:"schema"`
	// At is the sender's clock; nobody decides by it.
	At time.Time `json:"at"`
	// Lanes: issuer → how much the daemon has there.
	Lanes map[string]Load `json:"lanes,omitempty"`
	// Leaving is true in the last one.
	Leaving bool `json:"leaving,omitempty"`
}

// Load is how much a daemon has in a lane.
type Load struct {
	// Holds is how many claims it has open.
	Holds int `json:"holds"`
	// Running and Queued are its passes.
	Running int `json:"running"`
	Queued  int `json:"queued"`
}

// maxMembers bounds what strangers on the message server can make of us.
const maxMembers = 256

// Members is who was heard of and when, as one daemon sees it. It knows no
// clock; it is not safe for concurrent use.
type Members struct {
	self    string
	timeout time.Duration
	heard   map[string]heard // daemon → the last heartbeat
}

type heard struct {
	beat Heartbeat
	at   time.Time // by our clock
}

// NewMembers knows nobody yet but self. Who is silent for the timeout is gone.
func NewMembers(self string, timeout time.Duration) *Members {
	return &Members{self: self, timeout: timeout, heard: map[string]heard{}}
}

// Hear takes a heartbeat and reports whether its sender came or went by it.
func (m *Members) Hear(beat Heartbeat, now time.Time) (came, went bool) {
	if beat.ID == "" || beat.ID == m.self {
		return false, false
	}
	_, known := m.heard[beat.ID]
	switch {
	case beat.Leaving:
		delete(m.heard, beat.ID)
		return false, known
	case !known && len(m.heard) >= maxMembers:
		return false, false
	}
	m.heard[beat.ID] = heard{beat, now}
	return !known, false
}

// Expire forgets who was silent for too long and returns them. A clock that was
// set back makes nobody younger than now.
func (m *Members) Expire(now time.Time) (gone []string) {
	for id, h := range m.heard {
		switch silent := now.Sub(h.at); {
		case silent < 0:
			h.at = now
			m.heard[id] = h
		case silent > m.timeout:
			delete(m.heard, id)
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	return gone
}

// Knows reports whether a daemon lives, self left out.
func (m *Members) Knows(id string) bool {
	_, known := m.heard[id]
	return known
}

// Fleet is who lives.
func (m *Members) Fleet() Fleet {
	return NewFleet(m.self, slices.Collect(maps.Keys(m.heard))...)
}

// Beats are the last heartbeats of the others, by id.
func (m *Members) Beats() []Heartbeat {
	beats := make([]Heartbeat, 0, len(m.heard))
	for _, id := range slices.Sorted(maps.Keys(m.heard)) {
		beats = append(beats, m.heard[id].beat)
	}
	return beats
}
