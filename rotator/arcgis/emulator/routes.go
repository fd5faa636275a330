package emulator

import (
	"net/http"
	"net/url"
	"strings"
)

// tokenUse says what an endpoint does with a token.
type tokenUse int

const (
	tokenIgnored  tokenUse = iota // authenticates in another way, or needs nothing
	tokenOptional                 // answers anonymously without one; a bad one is still 498
	tokenRequired                 // 499 without one
)

// route is one endpoint.
type route struct {
	path   string // relative to the base path; {name} is one segment
	token  tokenUse
	post   bool // POST only
	handle func(*call) (any, error)
}

// routes is the whole portal. The first match counts. A trailing slash makes no difference.
func (p *Portal) routes() []route {
	return []route{
		{"/", tokenIgnored, false, p.root},
		{"/info", tokenIgnored, false, p.info},

		{"/generateToken", tokenIgnored, true, p.generateToken},
		{"/oauth2/token", tokenIgnored, true, p.oauthToken},
		{"/oauth2/revokeToken", tokenIgnored, true, p.revokeToken},
		{"/oauth2/validateApiKey", tokenIgnored, false, p.validateAPIKey},

		{"/oauth2/registerApp", tokenRequired, true, p.registerApp},
		{"/oauth2/apps/{app}", tokenRequired, false, p.getApp},
		{"/oauth2/apps/{app}/update", tokenRequired, true, p.updateApp},
		{"/oauth2/apps/{app}/unregister", tokenRequired, true, p.unregisterApp},
		{"/oauth2/apps/{app}/resetApiKey", tokenRequired, true, p.resetAPIKey},

		{"/portals/{org}", tokenOptional, false, p.portalSelf},
		{"/portals/{org}/apiTokens", tokenRequired, false, p.apiTokens},
		{"/portals/{org}/apiKeys", tokenRequired, false, p.apiKeys},
		{"/portals/{org}/usage", tokenRequired, false, p.usage},
		{"/portals/{org}/usageCost", tokenRequired, false, p.usageCost},
		{"/community/self", tokenRequired, false, p.communitySelf},
		{"/community/users/{user}", tokenRequired, false, p.communityUser},
		{"/community/users/{user}/report", tokenRequired, true, p.report},

		{"/search", tokenOptional, false, p.searchItems},
		{"/content/items/{item}", tokenOptional, false, p.getItem},

		{"/content/users/{user}", tokenRequired, false, p.listContent},
		{"/content/users/{user}/createFolder", tokenRequired, true, p.createFolder},
		{"/content/users/{user}/addItem", tokenRequired, true, p.addItem},
		{"/content/users/{user}/items/{item}", tokenRequired, false, p.getOwnItem},
		{"/content/users/{user}/items/{item}/update", tokenRequired, true, p.updateItem},
		{"/content/users/{user}/items/{item}/move", tokenRequired, true, p.moveItem},
		{"/content/users/{user}/items/{item}/delete", tokenRequired, true, p.deleteItem},
		{"/content/users/{user}/items/{item}/canDelete", tokenRequired, false, p.canDelete},
		{"/content/users/{user}/items/{item}/canRecycle", tokenRequired, false, p.canRecycle},
		{"/content/users/{user}/items/{item}/restore", tokenRequired, true, p.restoreItem},
		{"/content/users/{user}/items/{item}/protect", tokenRequired, true, p.protectItem},
		{"/content/users/{user}/items/{item}/unprotect", tokenRequired, true, p.unprotectItem},
		{"/content/users/{user}/items/{item}/registeredAppInfo", tokenRequired, false, p.registeredAppInfo},

		{"/content/users/{user}/{folder}", tokenRequired, false, p.listContent},
		{"/content/users/{user}/{folder}/addItem", tokenRequired, true, p.addItem},
		{"/content/users/{user}/{folder}/delete", tokenRequired, true, p.deleteFolder},
		{"/content/users/{user}/{folder}/items/{item}", tokenRequired, false, p.getOwnItem},
		{"/content/users/{user}/{folder}/items/{item}/update", tokenRequired, true, p.updateItem},
		{"/content/users/{user}/{folder}/items/{item}/move", tokenRequired, true, p.moveItem},
		{"/content/users/{user}/{folder}/items/{item}/delete", tokenRequired, true, p.deleteItem},
		{"/content/users/{user}/{folder}/items/{item}/registeredAppInfo", tokenRequired, false, p.registeredAppInfo},
	}
}

// controls are the emulator's own endpoints; no fault touches them.
func (p *Portal) controls() map[string]func(*http.Request) reply {
	return map[string]func(*http.Request) reply{
		"/emulator":        p.landing,
		"/emulator/faults": p.faultsEndpoint,
		"/emulator/knobs":  p.knobsEndpoint,
		"/emulator/state":  p.stateEndpoint,
		"/emulator/hand":   p.handEndpoint,
	}
}

// resourcePath is the emulator's protected resource, which faults do touch.
const resourcePath = "/emulator/resource"

// compiled is a route ready for matching.
type compiled struct {
	route
	segments []string
}

// table maps the number of segments → routes, in order.
type table map[int][]compiled

func compile(routes []route) table {
	t := table{}
	for _, r := range routes {
		segments := split(r.path)
		t[len(segments)] = append(t[len(segments)], compiled{r, segments})
	}
	return t
}

func split(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// match finds the route of an escaped path below the base path, and the values in it.
func (t table) match(path string) (*route, map[string]string) {
	segments := split(path)
	candidates := t[len(segments)]
next:
	for i := range candidates {
		vars := map[string]string{}
		for j, want := range candidates[i].segments {
			if name, ok := strings.CutPrefix(want, "{"); ok {
				value, err := url.PathUnescape(segments[j])
				if err != nil {
					continue next
				}
				vars[strings.TrimSuffix(name, "}")] = value
			} else if segments[j] != want {
				continue next
			}
		}
		return &candidates[i].route, vars
	}
	return nil, nil
}
