// Package privilege knows the privileges that an API key credential of ArcGIS is
// usually given: how the portal's form calls each, and which of them reach beyond
// location services. It makes no calls.
//
// The catalogue is that of Esri's tutorial. Portals know more than it lists, and
// add to that without notice: a name that is not in it may be right all the same.
package privilege

import (
	"slices"
	"strings"
)

// Privilege is a line of the portal's form.
type Privilege struct {
	// Category and Label are the words of the form.
	Category string `json:"category"`
	Label    string `json:"label"`
	// Name is what a declaration says: "premium:user:basemaps".
	Name string `json:"privilege"`
	// Beta is true for a service that Esri may still change.
	Beta bool `json:"beta"`
}

// ItemAccess begins the name of the privilege that the portal makes of an item
// which a key may read. The item's id follows.
const ItemAccess = "portal:app:access:item:"

// Catalogue returns all lines of the form, in its order.
func Catalogue() []Privilege {
	return []Privilege{
		{Category: "Basemaps", Label: "Basemap styles service", Name: "premium:user:basemaps"},
		{Category: "Basemaps", Label: "Static basemap tiles (beta)", Name: "premium:user:staticbasemaptiles", Beta: true},
		{Category: "Data enrichment", Label: "GeoEnrichment service", Name: "premium:user:geoenrichment"},
		{Category: "Elevation", Label: "Elevation service (beta)", Name: "premium:user:elevation", Beta: true},
		{Category: "Geocoding", Label: "Geocode (stored)", Name: "premium:user:geocode:stored"},
		{Category: "Geocoding", Label: "Geocode (not stored)", Name: "premium:user:geocode:temporary"},
		{Category: "Places", Label: "Place finding", Name: "premium:user:places"},
		{Category: "Routing", Label: "Routing", Name: "premium:user:networkanalysis:routing"},
		{Category: "Routing", Label: "Closest facility", Name: "premium:user:networkanalysis:closestfacility"},
		{Category: "Routing", Label: "Location allocation", Name: "premium:user:networkanalysis:locationallocation"},
		{Category: "Routing", Label: "Optimized routing", Name: "premium:user:networkanalysis:optimizedrouting"},
		{Category: "Routing", Label: "Origin/destination cost matrix", Name: "premium:user:networkanalysis:origindestinationcostmatrix"},
		{Category: "Routing", Label: "Service area", Name: "premium:user:networkanalysis:servicearea"},
		{Category: "Routing", Label: "Multi-vehicle routing", Name: "premium:user:networkanalysis:vehiclerouting"},
		{Category: "Routing", Label: "Last mile", Name: "premium:user:networkanalysis:lastmiledelivery"},
	}
}

// Listed reports whether a name is in the catalogue.
func Listed(name string) bool {
	return slices.ContainsFunc(Catalogue(), func(p Privilege) bool { return p.Name == name })
}

// Personal reports whether a privilege ties a key to the account of its owner, so
// that the portal asks for an acknowledgement. What is not known to be of standard
// scope is taken for personal: an acknowledgement too many does no harm.
func Personal(name string) bool {
	if Listed(name) || strings.HasPrefix(name, ItemAccess) {
		return false
	}
	// as ArcGIS API for Python has it
	return !slices.ContainsFunc([]string{
		"premium:user:basemaps", "premium:user:geoenrichment", "premium:user:geocode", "premium:user:networkanalysis",
		"premium:user:spatialanalysis", "premium:publisher:rasteranalysis", "portal:publisher:publishDynamicImagery",
		"portal:publisher:publishTiledImagery", "portal:publisher:publishFeatures", "portal:user:createItem",
	}, func(standard string) bool { return name == standard || strings.HasPrefix(name, standard+":") })
}
