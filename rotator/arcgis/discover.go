package arcgis

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/rotator/credential"
)

// keywordKeys is the portal's own, on an app that has API keys.
const keywordKeys = "APIToken"

var errNoCredential = errors.New("it is no API key credential")

// Discover lists the API key credentials that this manager can see, by title:
// those in the owner's own folders, and what search finds of others, which may be
// behind by some minutes. What others do not let it manage is left out.
func (p *Portal) Discover(ctx context.Context) ([]credential.FoundItem, error) {
	own, err := p.everywhere(ctx, p.config.Username, listed.registered)
	if err != nil {
		return nil, err
	}
	others, err := p.search(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, items := range own {
		for _, item := range items {
			ids[item.ID] = true
		}
	}
	for _, id := range others {
		ids[id] = true
	}
	folders := &titles{portal: p, of: map[string]map[string]string{}}
	looked := make([]*credential.FoundItem, 0, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.config.Concurrency)
	for id := range ids {
		at := len(looked)
		looked = append(looked, nil)
		group.Go(func() error {
			found, err := p.look(ctx, id, folders)
			switch {
			case err == nil:
				looked[at] = &found
			case errors.Is(err, errNoCredential): // another app
			case codeOf(err) == http.StatusBadRequest: // deleted or unregistered meanwhile
			case errors.Is(err, errNoSecret), codeOf(err) == http.StatusForbidden: // not ours to manage
			default:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := make([]credential.FoundItem, 0, len(looked))
	for _, found := range looked {
		if found != nil {
			all = append(all, *found)
		}
	}
	slices.SortFunc(all, func(a, b credential.FoundItem) int {
		return cmp.Or(cmp.Compare(a.Spec.Title, b.Spec.Title), cmp.Compare(a.Item, b.Item))
	})
	return all, nil
}

// search finds what the index knows of the organisation's API key credentials. Its
// dates are not to be trusted.
func (p *Portal) search(ctx context.Context) ([]string, error) {
	var where struct {
		ID string `json:"id"`
	}
	if _, err := p.manage(ctx, request{name: "whoami", op: "ask which organisation this is", path: "/portals/self"}, &where); err != nil {
		return nil, err
	}
	query := `type:"Application" AND typekeywords:("` + keywordRegistered + `" AND "` + keywordKeys + `")`
	if where.ID != "" { // else what everybody shares anywhere is found, too
		query = "orgid:" + where.ID + " AND " + query
	}
	var ids []string
	start := 1
	for range pages {
		var page struct {
			Results   []listed `json:"results"`
			NextStart int      `json:"nextStart"`
		}
		r := request{
			name: "search", op: "search for API key credentials", path: "/search",
			form: url.Values{"q": {query}, "num": {itoa(pageSize)}, "start": {itoa(start)}, "sortField": {"created"}},
		}
		if _, err := p.manage(ctx, r, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Results {
			if item.ID != "" {
				ids = append(ids, item.ID)
			}
		}
		if start = next(start, len(page.Results), page.NextStart); start == 0 {
			return ids, nil
		}
	}
	return nil, p.fault(request{op: "search for API key credentials"}, credential.ClassPermanent, errors.New("the list has no end"), "")
}

// Look reads one API key credential, whoever made it. An item that is none is
// permanent.
func (p *Portal) Look(ctx context.Context, item string) (credential.FoundItem, error) {
	return p.look(ctx, item, &titles{portal: p, of: map[string]map[string]string{}})
}

func (p *Portal) look(ctx context.Context, item string, folders *titles) (credential.FoundItem, error) {
	seen, err := p.describe(ctx, item)
	if err != nil {
		return credential.FoundItem{}, err
	}
	found := credential.FoundItem{Item: item, Owner: seen.item.Owner, Spec: seen.app.settings(), Slots: seen.slots()}
	for _, word := range seen.item.TypeKeywords {
		if text, ok := strings.CutPrefix(word, keywordInstallation); ok {
			found.Installation = text
		}
		if text, ok := strings.CutPrefix(word, keywordCredential); ok {
			found.Marked = text
		}
	}
	if !seen.hasKeys() {
		return credential.FoundItem{}, p.fault(request{op: "look at item " + item}, credential.ClassPermanent, errNoCredential, "check the item's id: it is an app of another kind")
	}
	found.Spec.Title, found.Spec.Description, found.Spec.Personal = seen.item.Title, seen.item.Description, seen.app.Personal
	found.Spec.Tags = append(found.Spec.Tags, seen.item.Tags...)
	found.Spec.Folder, err = folders.title(ctx, seen.item.Owner, seen.item.Folder)
	return found, err
}

// hasKeys tells an API key credential from another app: by the portal's keyword,
// by a key, or by our own marker.
func (d description) hasKeys() bool {
	return slices.ContainsFunc(d.item.TypeKeywords, func(word string) bool {
		return word == keywordKeys || strings.HasPrefix(word, keywordInstallation)
	}) || d.app.active(1) || d.app.active(2)
}
