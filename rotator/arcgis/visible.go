package arcgis

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/together"
)

// Visible returns those of the items that do not exist or that the manager may not
// see, in the order given and each once. Each is read by itself, Config.Concurrency
// at a time: the search index would show what was deleted a moment ago. Any other
// failure is an error, and says nothing about any item.
func (p *Portal) Visible(ctx context.Context, items []string) (missing []string, err error) {
	asked := make([]string, 0, len(items))
	for _, item := range items {
		if !slices.Contains(asked, item) {
			asked = append(asked, item)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make([]bool, len(asked))
	var next atomic.Int64
	var fail sync.Once
	look := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(asked) {
				return
			}
			_, _, failure := p.details(ctx, asked[i])
			if gone[i] = hidden(failure); failure != nil && !gone[i] {
				fail.Do(func() { err = failure })
				cancel() // the others are of no use
				return
			}
		}
	}
	abreast(min(p.config.Concurrency, len(asked)), look)
	if err != nil {
		return nil, err
	}
	for i, item := range asked {
		if gone[i] {
			missing = append(missing, item)
		}
	}
	return missing, nil
}

// hidden reports whether the portal says that an item is not there, in either of
// its ways: it denies what it does not want to show.
func hidden(err error) bool {
	return credential.IsClass(err, credential.ClassNotFound) ||
		credential.IsClass(err, credential.ClassDenied) && codeOf(err) == http.StatusForbidden
}

// abreast runs so many copies of a function side by side.
func abreast(copies int, run func()) {
	switch copies {
	case 0:
	case 1:
		run()
	default:
		together.Do(func() { abreast(copies/2, run) }, func() { abreast(copies-copies/2, run) })
	}
}
