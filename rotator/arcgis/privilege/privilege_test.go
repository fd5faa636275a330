package privilege_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
)

// table is that of the tutorial, copied apart from the catalogue.
const table = `
Basemaps | Basemap styles service | premium:user:basemaps |
Basemaps | Static basemap tiles (beta) | premium:user:staticbasemaptiles | beta
Data enrichment | GeoEnrichment service | premium:user:geoenrichment |
Elevation | Elevation service (beta) | premium:user:elevation | beta
Geocoding | Geocode (stored) | premium:user:geocode:stored |
Geocoding | Geocode (not stored) | premium:user:geocode:temporary |
Places | Place finding | premium:user:places |
Routing | Routing | premium:user:networkanalysis:routing |
Routing | Closest facility | premium:user:networkanalysis:closestfacility |
Routing | Location allocation | premium:user:networkanalysis:locationallocation |
Routing | Optimized routing | premium:user:networkanalysis:optimizedrouting |
Routing | Origin/destination cost matrix | premium:user:networkanalysis:origindestinationcostmatrix |
Routing | Service area | premium:user:networkanalysis:servicearea |
Routing | Multi-vehicle routing | premium:user:networkanalysis:vehiclerouting |
Routing | Last mile | premium:user:networkanalysis:lastmiledelivery |
`

func TestTheCatalogueIsTheTable(t *testing.T) {
	var want []privilege.Privilege
	for line := range strings.Lines(strings.TrimSpace(table)) {
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		want = append(want, privilege.Privilege{Category: cells[0], Label: cells[1], Name: cells[2], Beta: cells[3] == "beta"})
	}
	if len(want) != 15 {
		t.Fatalf("the table has %d rows", len(want))
	}
	if diff := cmp.Diff(want, privilege.Catalogue()); diff != "" {
		t.Error(diff)
	}
	privilege.Catalogue()[0].Name = "changed"
	for _, p := range want {
		if !privilege.Listed(p.Name) || privilege.Personal(p.Name) {
			t.Errorf("%s: listed %v, personal %v", p.Name, privilege.Listed(p.Name), privilege.Personal(p.Name))
		}
	}
}

func TestWhatIsPersonal(t *testing.T) {
	for name, want := range map[string]bool{
		"premium:user:geocode": false, "premium:user:networkanalysis:snaptoroads": false, "premium:user:spatialanalysis": false,
		"premium:publisher:rasteranalysis": false, "portal:publisher:publishFeatures": false, "portal:user:createItem": false,
		"portal:publisher:publishTiledImagery": false, "portal:publisher:publishDynamicImagery": false,
		privilege.ItemAccess + "0123456789abcdef0123456789abcdef": false,

		"portal:admin:viewItems": true, "portal:user:generateApiTokens": true, "premium:user:staticMaps": true,
		"premium:user:demographics": true, "premium:publisher:geoanalytics": true, "premium:user:geocoder": true,
		"portal:user:createItems": true, "": true,
	} {
		if have := privilege.Personal(name); have != want {
			t.Errorf("%q is personal: %v, want %v", name, have, want)
		}
		if privilege.Listed(name) {
			t.Errorf("%q is listed", name)
		}
	}
}
