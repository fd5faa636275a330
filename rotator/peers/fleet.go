package peers

import (
	"hash/fnv"
	"slices"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Fleet is the daemons that live, as one of them sees it. It never changes; the
// zero Fleet is a daemon alone.
type Fleet struct {
	self string
	ids  []string // sorted, with self
}

// NewFleet is self and the others.
func NewFleet(self string, others ...string) Fleet {
	ids := append([]string{self}, others...)
	slices.Sort(ids)
	return Fleet{self: self, ids: slices.Compact(ids)}
}

// Size is how many daemons live, at least one.
func (f Fleet) Size() int { return max(1, len(f.ids)) }

// IDs are the daemons that live, sorted.
func (f Fleet) IDs() []string { return slices.Clone(f.ids) }

// Has reports whether a daemon lives.
func (f Fleet) Has(id string) bool {
	_, found := slices.BinarySearch(f.ids, id)
	return found
}

// Order is who begins a credential's work, the owner first.
func (f Fleet) Order(name credential.Name) []string {
	order := slices.Clone(f.ids)
	weights := make(map[string]uint64, len(order))
	for _, id := range order {
		weights[id] = weight(id, name)
	}
	slices.SortStableFunc(order, func(a, b string) int {
		switch {
		case weights[a] > weights[b]:
			return -1
		case weights[a] < weights[b]:
			return 1
		}
		return 0
	})
	return order
}

// Owner is the daemon that begins a credential's planned work.
func (f Fleet) Owner(name credential.Name) string {
	if len(f.ids) == 0 {
		return f.self
	}
	return f.Order(name)[0]
}

// Ahead is how many daemons may begin before this one. Holder, if it lives, is at
// it already and comes first. Each failed attempt moves the turn on by one, so
// that a daemon that alone cannot reach the issuer does not keep the work.
func (f Fleet) Ahead(name credential.Name, holder string, attempts int) int {
	n := len(f.ids)
	if n < 2 || holder == f.self && f.self != "" {
		return 0
	}
	order := f.Order(name)
	if f.Has(holder) {
		order = slices.DeleteFunc(order, func(id string) bool { return id == holder })
		return slices.Index(order, f.self) + 1
	}
	return ((slices.Index(order, f.self)-attempts)%n + n) % n
}

// Share is this daemon's part of a limit: the parts of all add up to it, unless
// there are more daemons than that, since each gets at least one.
func (f Fleet) Share(limit int) int {
	n := f.Size()
	place, _ := slices.BinarySearch(f.ids, f.self)
	share := limit / n
	if place < limit%n {
		share++
	}
	return max(1, share)
}

// Portion is this daemon's part of a rate.
func (f Fleet) Portion(rate float64) float64 { return rate / float64(f.Size()) }

// weight is the rendezvous hash: the daemon with the highest owns the credential.
func weight(id string, name credential.Name) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(name))
	// FNV leaves the high bits of short inputs poorly mixed; finish as in splitmix64.
	x := h.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return x
}
