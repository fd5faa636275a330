package arcgis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The keywords by which an item is found again: one that a rotation made has all
// three, one that was adopted has no rotation.
const (
	keywordInstallation = "keyturn-installation:"
	keywordCredential   = "keyturn-credential:"
	keywordRotation     = "keyturn-rotation:"
)

// keywordRegistered is the portal's own, on an item that is registered.
const keywordRegistered = "Registered App"

// accessItem begins the privilege that stands for the access to an item.
const accessItem = "portal:app:access:item:"

func keywords(m credential.Marker) []string {
	return []string{
		keyword(keywordInstallation, m.Installation), keyword(keywordCredential, string(m.Name)), keyword(keywordRotation, m.Rotation),
	}
}

// keyword shortens what the portal might cut: a cut keyword would not be found.
func keyword(prefix, value string) string {
	const longest = 120
	if len(prefix)+len(value) <= longest {
		return prefix + value
	}
	sum := sha256.Sum256([]byte(value))
	return prefix + "sha256-" + hex.EncodeToString(sum[:16])
}

// EnsureItem finds the item with the marker in the owner's folder listing
// (which, unlike the search index, shows what was just written), or makes it,
// and registers it if it is not. Of several with the same marker, which is what
// an unanswered call may leave, it takes the oldest that is registered.
func (p *Portal) EnsureItem(ctx context.Context, order credential.ItemOrder) (string, error) {
	r := request{op: "make item " + order.Spec.Title}
	if err := p.checkMarker(r, order.Marker.Installation, string(order.Marker.Name), order.Marker.Rotation); err != nil {
		return "", err
	}
	item, err := p.ensure(ctx, order)
	if credential.IsClass(err, credential.ClassNotFound) {
		// a folder or item that was there a moment ago
		p.forgetFolder(place{p.config.Username, order.Spec.Folder})
		return "", reclassed(err, credential.ClassRetryable, "it was deleted in between: the next attempt begins anew")
	}
	return item, err
}

// checkMarker refuses what could not be found again.
func (p *Portal) checkMarker(r request, parts ...string) error {
	for _, part := range parts {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool { return r == ',' || unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			return p.fault(r, credential.ClassPermanent, errors.New("a marker cannot be empty or hold commas and spaces"), "check the installation's name")
		}
	}
	return nil
}

func (p *Portal) ensure(ctx context.Context, order credential.ItemOrder) (string, error) {
	folder, err := p.folderID(ctx, place{p.config.Username, order.Spec.Folder})
	if err != nil {
		return "", err
	}
	var found []listed
	if !order.First { // reading the whole folder for each of many new items would take for ever
		marker := keywords(order.Marker)
		marked := func(item listed) bool { return hasAll(item.TypeKeywords, marker) }
		if found, err = p.findItems(ctx, p.config.Username, folder, marked); err != nil {
			return "", err
		}
	}
	for _, item := range found {
		info, err := p.registration(ctx, p.config.Username, item.ID)
		class := credential.ClassOf(err)
		if class == credential.ClassNotFound || class == credential.ClassPermanent || (isRefusal(err) && codeOf(err) == 0) {
			continue // not registered
		}
		if err != nil {
			return "", err
		}
		if err := p.granted(item.ID, info, order.Spec); err != nil {
			return "", err
		}
		return item.ID, nil
	}
	var item string
	if len(found) > 0 {
		item = found[0].ID
	} else if item, err = p.addItem(ctx, folder, order); err != nil {
		return "", err
	}
	if err := p.register(ctx, item, order.Spec); err != nil {
		return "", err
	}
	return item, nil
}

func (p *Portal) addItem(ctx context.Context, folder string, order credential.ItemOrder) (string, error) {
	spec := order.Spec
	form := url.Values{
		"type": {"Application"}, "title": {spec.Title},
		"tags":         {strings.Join(spec.Tags, ",")},
		"typeKeywords": {strings.Join(keywords(order.Marker), ",")},
	}
	if spec.Description != "" {
		form.Set("description", spec.Description)
	}
	if spec.Personal {
		form.Set("isPersonalAPIToken", "true")
	}
	var answer struct {
		ID string `json:"id"`
	}
	r := request{
		name: "make-item", op: "make item " + spec.Title, path: userPath(p.config.Username, folder, "addItem"),
		form: form, changes: true,
	}
	if _, err := p.manage(ctx, r, &answer); err != nil {
		return "", err
	}
	if answer.ID == "" {
		return "", p.garbled(r, "a new item without an id")
	}
	return answer.ID, nil
}

// registered is what the portal says of an app; a field that is missing is false.
type registered struct {
	ItemID       string   `json:"itemId"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	Privileges   []string `json:"privileges"`
	Referrers    []string `json:"httpReferrers"`
	Personal     bool     `json:"isPersonalAPIToken"`
	Active1      bool     `json:"apiToken1Active"`
	Active2      bool     `json:"apiToken2Active"`
}

func (r registered) active(slot int) bool {
	return (slot == 1 && r.Active1) || (slot == 2 && r.Active2)
}

// settings is what the app may do, and where; the other fields are empty. What
// the portal does not tell is nil.
func (r registered) settings() (spec credential.ItemSpec) {
	for _, privilege := range r.Privileges {
		if id, ok := strings.CutPrefix(privilege, accessItem); ok {
			spec.Items = append(spec.Items, id)
		} else {
			spec.Privileges = append(spec.Privileges, privilege)
		}
	}
	spec.Referrers = append(spec.Referrers, r.Referrers...)
	return spec
}

func privileges(spec credential.ItemSpec) []string {
	list := slices.Clone(spec.Privileges)
	for _, id := range spec.Items {
		list = append(list, accessItem+id)
	}
	return list
}

func (p *Portal) register(ctx context.Context, item string, spec credential.ItemSpec) error {
	form := url.Values{
		"itemId": {item}, "appType": {"multiple"},
		"redirect_uris": {jsonArray([]string{"urn:ietf:wg:oauth:2.0:oob"})},
		"httpReferrers": {jsonArray(spec.Referrers)},
		"privileges":    {jsonArray(privileges(spec))},
	}
	if spec.Personal {
		form.Set("isPersonalAPIToken", "true")
	}
	var answer registered
	r := request{name: "register", op: "register item " + item, path: "/oauth2/registerApp", form: form, changes: true}
	if _, err := p.manage(ctx, r, &answer); err != nil {
		return err
	}
	if answer.ClientID == "" || answer.ClientSecret == "" {
		return p.garbled(r, "a registration without client id and secret")
	}
	p.remember(item, app{owner: p.config.Username, clientID: answer.ClientID, secret: credential.NewSecret(answer.ClientSecret)})
	return p.granted(item, answer, spec)
}

// granted compares what the app may do with what was asked: a key that lacks a
// privilege is accepted by the portal, and refused by the services.
func (p *Portal) granted(item string, info registered, spec credential.ItemSpec) error {
	if info.Privileges == nil { // it does not say
		return nil
	}
	var missing []string
	for _, privilege := range privileges(spec) {
		if !slices.Contains(info.Privileges, privilege) {
			missing = append(missing, privilege)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return p.fault(request{op: "register item " + item}, credential.ClassPermanent,
		fmt.Errorf("the portal left out %s", cut(strings.Join(missing, ", "))),
		"check the spelling of the privileges, and that the owner holds them; then delete this item")
}

// jsonArray is how the portal wants privileges, referrers and redirect URIs.
func jsonArray(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	text, err := json.Marshal(list)
	if err != nil { // strings always encode
		return "[]"
	}
	return string(text)
}
