package emulator

import (
	"regexp"
	"slices"
	"strings"
)

// itemAccessPrefix begins the privilege that stands for access to one item.
const itemAccessPrefix = "portal:app:access:item:"

// maxItemAccess is the number of items that one credential may reach.
const maxItemAccess = 100

// Privileges that this package looks at.
const (
	privGenerate    = "portal:user:generateApiTokens"
	privAssign      = "portal:user:assignPrivilegesToApps"
	privCreateItem  = "portal:user:createItem"
	privViewItems   = "portal:admin:viewItems"
	privUpdateItems = "portal:admin:updateItems"
	privDeleteItems = "portal:admin:deleteItems"
)

// knownPrivileges are those of the published table, and others that were seen in use.
var knownPrivileges = []string{
	"premium:user:basemaps", "premium:user:staticbasemaptiles", "premium:user:geoenrichment", "premium:user:elevation",
	"premium:user:geocode:stored", "premium:user:geocode:temporary", "premium:user:places",
	"premium:user:networkanalysis:routing", "premium:user:networkanalysis:closestfacility",
	"premium:user:networkanalysis:locationallocation", "premium:user:networkanalysis:optimizedrouting",
	"premium:user:networkanalysis:origindestinationcostmatrix", "premium:user:networkanalysis:servicearea",
	"premium:user:networkanalysis:vehiclerouting", "premium:user:networkanalysis:lastmiledelivery",
	"premium:user:staticMaps", "premium:user:networkanalysis:snaptoroads", "premium:user:geocode",
	"premium:user:networkanalysis", "premium:user:spatialanalysis", "premium:user:demographics", "premium:user:featurereport",
	"premium:publisher:rasteranalysis", "premium:publisher:geoanalytics", "portal:user:allowBetaAccess",
	"portal:publisher:publishDynamicImagery", "portal:publisher:publishTiledImagery", "portal:publisher:publishFeatures",
	privGenerate, privAssign, privCreateItem, privViewItems, privUpdateItems, privDeleteItems,
}

// standardPrefixes begin the privileges that do not make a key personal.
var standardPrefixes = []string{
	"premium:user:basemaps", "premium:user:staticbasemaptiles", "premium:user:geoenrichment", "premium:user:elevation",
	"premium:user:geocode", "premium:user:places", "premium:user:networkanalysis", "premium:user:spatialanalysis",
	"premium:publisher:rasteranalysis", "portal:publisher:publishDynamicImagery", "portal:publisher:publishTiledImagery",
	"portal:publisher:publishFeatures", privCreateItem, itemAccessPrefix,
}

var (
	wellFormed = regexp.MustCompile(`^(portal|premium):[A-Za-z]+(:[A-Za-z0-9]+)*$`)
	itemAccess = regexp.MustCompile(`^` + itemAccessPrefix + `[0-9a-f]{32}$`)
)

func personal(privileges []string) bool {
	return slices.ContainsFunc(privileges, func(have string) bool {
		return !slices.ContainsFunc(standardPrefixes, func(prefix string) bool { return strings.HasPrefix(have, prefix) })
	})
}

// holds reports whether the app has the privilege.
func holds(a *app, privilege string) bool { return slices.Contains(a.Privileges, privilege) }

// reaches reports whether the app's item access includes the item; listed says whether it lists any.
func reaches(a *app, itemID string) (ok, listed bool) {
	for _, have := range a.Privileges {
		if id, isItem := strings.CutPrefix(have, itemAccessPrefix); isItem {
			listed = true
			if id == itemID {
				return true, true
			}
		}
	}
	return false, listed
}

// checkPrivileges refuses a list that an app may not have, or leaves out of it what the app may not have.
func (p *Portal) checkPrivileges(k Knobs, owner string, privileges []string) ([]string, error) {
	var bad []string
	good := []string{}
	items := 0
	for _, name := range privileges {
		if strings.HasPrefix(name, itemAccessPrefix) {
			switch {
			case !itemAccess.MatchString(name):
				bad = append(bad, name)
			case items < maxItemAccess || k.RefusedPrivileges != RefusedDropped:
				items++
				good = append(good, name)
			}
			continue
		}
		known := slices.Contains(knownPrivileges, name)
		switch k.UnknownPrivileges {
		case PrivilegesWellFormed:
			known = known || wellFormed.MatchString(name)
		case PrivilegesAny:
			known = true
		}
		known = known && (!k.NoLocationServices || !strings.HasPrefix(name, "premium:"))
		held, limited := p.cfg.Held[owner]
		if known && (!limited || slices.Contains(held, name)) {
			good = append(good, name)
		} else {
			bad = append(bad, name)
		}
	}
	switch {
	case k.RefusedPrivileges == RefusedDropped:
		return good, nil
	case k.RefusedPrivileges == RefusedPlain && (len(bad) > 0 || items > maxItemAccess):
		return nil, errBad("Invalid request.")
	case len(bad) > 0:
		return nil, errBad("Invalid privileges.", bad...)
	case items > maxItemAccess:
		return nil, errBad("Too many items.", "an app may access at most 100 items")
	}
	return good, nil
}

// action is what a caller wants to do with somebody's content.
type action int

const (
	actView action = iota
	actUpdate
	actDelete
	actCreate
	actRegister
)

// may says whether the caller may do that in the content of owner, to that item (or "" for none).
func (p *Portal) may(c *call, act action, owner, itemID string) error {
	switch c.who.kind {
	case userToken:
		if c.who.user != owner && (act == actRegister || !p.isAdmin(c.who.user)) {
			return errForbidden()
		}
		if held, limited := p.cfg.Held[owner]; limited && act == actRegister {
			for _, need := range []string{privGenerate, privAssign} {
				if !slices.Contains(held, need) {
					return errForbidden(need)
				}
			}
		}
		return nil
	case appToken:
		if c.knobs.AppTokenManages && c.who.user == owner && (act != actCreate || p.cfg.Edition == Online) {
			return nil
		}
	case keyToken:
		return p.keyMay(c, act, owner, itemID)
	}
	return errForbidden()
}

// keyMay is may for an API key that is used as a manager token.
func (p *Portal) keyMay(c *call, act action, owner, itemID string) error {
	if c.knobs.KeyManages == KeyManagesNever || ((act == actCreate || act == actRegister) && p.cfg.Edition == Enterprise) {
		return errForbidden()
	}
	if c.knobs.KeyManages == KeyManagesAlways {
		return nil
	}
	need := map[action][]string{
		actView: {privViewItems}, actUpdate: {privViewItems, privUpdateItems}, actDelete: {privDeleteItems},
		actCreate: {privCreateItem}, actRegister: {privGenerate, privAssign},
	}[act]
	for _, name := range need {
		if !holds(c.who.app, name) {
			return errForbidden(name)
		}
	}
	if (act == actCreate || act == actRegister) && owner != c.who.user {
		return errForbidden()
	}
	if ok, listed := reaches(c.who.app, itemID); itemID != "" && listed && !ok && act != actRegister {
		return errForbidden()
	}
	return nil
}

func (p *Portal) isAdmin(user string) bool { return slices.Contains(p.cfg.Admins, user) }
