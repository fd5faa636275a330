package arcgis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Edit brings title, tags, description and folder of an item to what the spec
// says, and puts the marker on it; without a rotation the item keeps the one it
// has. It sends what differs, and nothing else: privileges, items and referrers,
// of which an edit would kill the keys, are not looked at. An item that carries
// the marker of another installation is refused as permanent; that of another
// credential is replaced, as only the record knows whether it still stands.
func (p *Portal) Edit(ctx context.Context, item string, marker credential.Marker, spec credential.ItemSpec) error {
	r := request{name: "edit-item", op: "edit item " + item, changes: true}
	parts := []string{marker.Installation, string(marker.Name)}
	if marker.Rotation != "" {
		parts = append(parts, marker.Rotation)
	}
	if err := p.checkMarker(r, parts...); err != nil {
		return err
	}
	if spec.Title == "" {
		return p.fault(r, credential.ClassPermanent, errors.New("an item cannot be without a title"), "declare one")
	}
	seen, err := p.describe(ctx, item)
	if err != nil {
		return err
	}
	if seen.item.TypeKeywords == nil { // sending ours would drop those that it did not show
		return p.fault(r, credential.ClassRetryable, errors.New("the portal does not show the item's type keywords"), "look at the item in the portal")
	}
	words, err := p.remarked(r, seen.item.TypeKeywords, marker)
	if err != nil {
		return err
	}
	if r.form = changedFields(seen.item, words, spec); len(r.form) > 0 {
		r.path = userPath(seen.item.Owner, "items", item, "update")
		if err := p.update(ctx, item, r); err != nil {
			return err
		}
	}
	return p.move(ctx, item, seen.item.Folder, place{seen.item.Owner, spec.Folder})
}

// remarked are the keywords with the marker. An update replaces the whole list,
// so those of others stand in it, too.
func (p *Portal) remarked(r request, had []string, marker credential.Marker) ([]string, error) {
	ours := []string{keyword(keywordInstallation, marker.Installation), keyword(keywordCredential, string(marker.Name))}
	words := make([]string, 0, len(had)+len(ours)+1)
	for _, word := range had {
		switch {
		case strings.HasPrefix(word, keywordRotation) && marker.Rotation != "", strings.HasPrefix(word, keywordCredential) && slices.Contains(had, ours[0]):
			continue
		case strings.HasPrefix(word, keywordInstallation) && word != ours[0], strings.HasPrefix(word, keywordCredential) && word != ours[1]:
			return nil, p.fault(r, credential.ClassPermanent, fmt.Errorf("it is managed already: it carries the keyword %s", cut(printable(word))),
				"let go of it there first; if nobody manages it any more, delete its keywords that begin with keyturn- in the portal")
		}
		words = append(words, word)
	}
	if marker.Rotation != "" {
		ours = append(ours, keyword(keywordRotation, marker.Rotation))
	}
	for _, word := range ours {
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return words, nil
}

// changedFields is what an update has to send; empty = nothing differs.
func changedFields(had details, words []string, spec credential.ItemSpec) url.Values {
	form := url.Values{}
	if had.Title != spec.Title {
		form.Set("title", spec.Title)
	}
	if strings.TrimSpace(had.Description) != strings.TrimSpace(spec.Description) {
		form.Set("description", spec.Description)
	}
	if !sameWords(had.Tags, spec.Tags) {
		form.Set("tags", strings.Join(spec.Tags, ","))
	}
	if !sameWords(had.TypeKeywords, words) {
		form.Set("typeKeywords", strings.Join(words, ","))
	}
	for _, values := range form {
		if values[0] == "" { // else the portal takes an empty field for one that is not given
			form.Set("clearEmptyFields", "true")
			break
		}
	}
	return form
}

// sameWords compares lists as the portal keeps them: in its own order, and trimmed.
func sameWords(a, b []string) bool {
	plain := func(list []string) []string {
		words := make([]string, 0, len(list))
		for _, word := range list {
			if word = strings.TrimSpace(word); word != "" {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		return slices.Compact(words)
	}
	return slices.Equal(plain(a), plain(b))
}

// move puts an item into a folder of its owner, which is made if it is not there.
func (p *Portal) move(ctx context.Context, item, from string, to place) error {
	id, err := p.folderID(ctx, to)
	if err != nil || id == from {
		return err
	}
	r := request{
		name: "move-item", op: "move item " + item, path: userPath(to.owner, "items", item, "move"),
		form: url.Values{"folder": {id}}, changes: true,
	}
	if id == "" {
		r.form.Set("folder", "/")
	}
	if err := p.update(ctx, item, r); err != nil {
		p.forgetFolder(to) // it may have been deleted meanwhile
		return err
	}
	return nil
}
