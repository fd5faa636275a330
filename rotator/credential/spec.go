package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// Spec is what somebody declared: where the key comes from, what it may do and
// when it is replaced. The Policy in a record is always resolved.
type Spec struct {
	// Issuer is the name of a configured issuer.
	Issuer string            `json:"issuer"`
	Item   ItemSpec          `json:"item"`
	Policy Policy            `json:"policy"`
	Labels map[string]string `json:"labels,omitempty"`
	// Owner is shown to people (custom metadata in Vault); nothing decides by it.
	Owner string `json:"owner,omitempty"`
}

// ItemSpec describes the item that carries the keys at the issuer.
type ItemSpec struct {
	Title       string   `json:"title"`
	Folder      string   `json:"folder,omitempty"`
	Description string   `json:"description,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	// Privileges, Items and Referrers are the settings: a change of any of
	// them kills both keys of an item, so it goes to a new item.
	Privileges []string `json:"privileges,omitempty"`
	Items      []string `json:"items,omitempty"`
	Referrers  []string `json:"referrers,omitempty"`
	// Personal acknowledges privileges that reach beyond location services
	// (the portal's "personal" scope).
	Personal bool `json:"personal,omitempty"`
	// AllowUnlisted lets Privileges hold names that are not in the catalogue. It
	// is no setting: the issuer never hears of it.
	AllowUnlisted bool `json:"allow_unlisted,omitempty"`
}

// SettingsHash identifies the settings, whatever their order: the first 16
// hexadecimal characters of a SHA-256.
func (i ItemSpec) SettingsHash() string {
	sorted := func(list []string) []string {
		list = slices.Clone(list)
		slices.Sort(list)
		return slices.Compact(list)
	}
	return hash([][]string{sorted(i.Privileges), sorted(i.Items), sorted(i.Referrers)})
}

func hash(lists [][]string) string {
	text, err := json.Marshal(lists)
	if err != nil { // strings always encode
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// DescriptionHash identifies what is edited in place: title, folder, description
// and tags.
func (i ItemSpec) DescriptionHash() string {
	return hash([][]string{{i.Title, i.Folder, i.Description}, i.Tags})
}

// Equal reports whether two specs declare the same.
func (s Spec) Equal(other Spec) bool {
	a, errA := json.Marshal(s)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && string(a) == string(b)
}
