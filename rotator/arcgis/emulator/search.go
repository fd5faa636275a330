package emulator

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// searchIndex is what search sees: items as they were, a lag ago.
type searchIndex struct {
	mu      sync.Mutex
	items   map[string]*item // item id → item
	pending []indexing       // oldest first
}

// indexing is a change that the index has not made yet; a nil item takes the id out.
type indexing struct {
	due  time.Time
	id   string
	item *item
}

func newSearchIndex() *searchIndex { return &searchIndex{items: map[string]*item{}} }

func (x *searchIndex) put(now time.Time, id string, it *item) {
	if it.Recycled == 0 {
		x.add(now, 0, id, it)
	}
}

func (x *searchIndex) add(now time.Time, lag time.Duration, id string, it *item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pending = append(x.pending, indexing{now.Add(lag), id, it})
	x.settle(now)
}

func (x *searchIndex) settle(now time.Time) {
	n := 0
	for ; n < len(x.pending) && !x.pending[n].due.After(now); n++ {
		if it := x.pending[n].item; it != nil {
			x.items[x.pending[n].id] = it
		} else {
			delete(x.items, x.pending[n].id)
		}
	}
	x.pending = x.pending[n:]
}

func (x *searchIndex) find(now time.Time, keep func(*item) bool) []*item {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.settle(now)
	var found []*item
	for _, it := range x.items {
		if keep(it) {
			found = append(found, it)
		}
	}
	return found
}

// searchItems is /search over the caller's own items (an admin's: over everyone's).
func (p *Portal) searchItems(c *call) (any, error) {
	q, filter := c.form.Get("q"), c.form.Get("filter")
	if q == "" && filter == "" {
		return nil, errBad("'q' or 'filter' must be specified.")
	}
	window, err := c.paging(10)
	if err != nil {
		return nil, err
	}
	wanted, err1 := parseQuery(q)
	filtered, err2 := parseQuery(filter)
	if err1 != nil || err2 != nil {
		return nil, errBad("Invalid search query.")
	}
	all := c.who.kind == userToken && p.isAdmin(c.who.user)
	found := p.index.find(c.now, func(it *item) bool {
		if !all {
			switch c.who.kind {
			case userToken:
				if it.Owner != c.who.user {
					return false
				}
			case keyToken, appToken:
				if ok, _ := reaches(c.who.app, it.ID); !ok && p.may(c, actView, it.Owner, it.ID) != nil {
					return false
				}
			default:
				return false
			}
		}
		return wanted(it) && filtered(it)
	})
	less := itemOrder(c.form.Get("sortField"), c.form.Get("sortOrder"))
	slices.SortFunc(found, func(a, b *item) int {
		return cmp.Or(less(a, b), cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
	from, to, next := window.cut(len(found))
	results := make([]itemView, 0, to-from)
	for _, it := range found[from:to] {
		v := p.view(it, "")
		if c.knobs.SearchExpirations == SearchMinusOne {
			v.Expires1, v.Expires2 = noDate, noDate
		}
		results = append(results, v)
	}
	return struct {
		Query     string     `json:"query"`
		Total     int        `json:"total"`
		Start     int        `json:"start"`
		Num       int        `json:"num"`
		NextStart int        `json:"nextStart"`
		Results   []itemView `json:"results"`
	}{q, len(found), window.start, len(results), next, results}, nil
}

// itemOrder compares by a sort field; an unknown one leaves everything as it is.
func itemOrder(field, order string) func(a, b *item) int {
	sign := 1
	if strings.EqualFold(order, "desc") {
		sign = -1
	}
	return func(a, b *item) int {
		switch strings.ToLower(field) {
		case "title":
			return sign * cmp.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title))
		case "created", "uploaded":
			return sign * cmp.Compare(a.Created, b.Created)
		case "modified":
			return sign * cmp.Compare(a.Modified, b.Modified)
		case "owner":
			return sign * cmp.Compare(a.Owner, b.Owner)
		case "type":
			return sign * cmp.Compare(a.Type, b.Type)
		}
		return 0
	}
}
