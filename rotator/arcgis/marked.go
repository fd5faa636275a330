package arcgis

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Marked lists the owner's items, in whichever folder, that carry the marker of an
// installation, the oldest first. Items whose credential is none of the names are
// among them, without a name: the portal may hold it shortened only. What somebody
// moves meanwhile may be missed.
func (p *Portal) Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error) {
	ours := keyword(keywordInstallation, installation)
	found, err := p.everywhere(ctx, p.config.Username, func(item listed) bool { return slices.Contains(item.TypeKeywords, ours) })
	if err != nil {
		return nil, err
	}
	of := make(map[string]credential.Name, len(names))
	for _, name := range names {
		of[keyword(keywordCredential, string(name))] = name
	}
	marked := []credential.MarkedItem{}
	for _, items := range found {
		for _, item := range items {
			m := credential.MarkedItem{Item: item.ID, Title: item.Title, Created: date(float64(item.Created))}
			for _, word := range item.TypeKeywords {
				if name, ok := of[word]; ok {
					m.Name = name
				}
				if rotation, ok := strings.CutPrefix(word, keywordRotation); ok {
					m.Rotation = rotation
				}
			}
			marked = append(marked, m)
		}
	}
	slices.SortFunc(marked, func(a, b credential.MarkedItem) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Item, b.Item))
	})
	return slices.CompactFunc(marked, func(a, b credential.MarkedItem) bool { return a.Item == b.Item }), nil
}
