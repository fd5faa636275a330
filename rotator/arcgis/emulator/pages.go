package emulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The emulator's own pages. They need no token: whoever reaches the emulated portal may steer it.

func (p *Portal) landing(r *http.Request) reply {
	return page(http.StatusOK, fmt.Sprintf(`<p>Nothing here is real: keys of this portal open nothing but its own resource.</p>
<ul>
<li>portal: <code>%s</code> (%s)</li>
<li><a href="/emulator/resource">/emulator/resource</a> GET or POST with a key: says whether it works and whose it is; service=… counts it as that service's</li>
<li><a href="/emulator/state">/emulator/state</a> GET: items, slots, counters, events</li>
<li><a href="/emulator/faults">/emulator/faults</a> GET, PUT: disturbances</li>
<li><a href="/emulator/knobs">/emulator/knobs</a> GET, PUT: what no document says</li>
<li>/emulator/hand POST: what a person does in the web pages (action, itemId, apiToken)</li>
</ul>`, html.EscapeString(p.base), p.cfg.Edition))
}

func refuse(status int, err error) reply {
	return answer("json", nil, &portalError{Status: status, Code: status, Message: err.Error()})
}

// readOrReplace serves a value for GET and hands the body of a PUT to set.
func readOrReplace(r *http.Request, get func() any, set func([]byte) error) reply {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut:
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err == nil {
			err = set(body)
		}
		if err != nil {
			return refuse(http.StatusBadRequest, err)
		}
	default:
		return refuse(http.StatusMethodNotAllowed, errors.New("use GET or PUT"))
	}
	return answer("pjson", get(), nil)
}

func (p *Portal) faultsEndpoint(r *http.Request) reply {
	return readOrReplace(r, func() any { return p.Faults() }, func(body []byte) error {
		var f Faults
		if err := json.Unmarshal(body, &f); err != nil {
			return err
		}
		return p.SetFaults(f)
	})
}

func (p *Portal) knobsEndpoint(r *http.Request) reply {
	return readOrReplace(r, func() any { return p.Knobs() }, func(body []byte) error {
		var k Knobs
		if err := json.Unmarshal(body, &k); err != nil {
			return err
		}
		return p.SetKnobs(k)
	})
}

func (p *Portal) stateEndpoint(r *http.Request) reply {
	if r.Method != http.MethodGet {
		return refuse(http.StatusMethodNotAllowed, errors.New("use GET"))
	}
	return answer("pjson", map[string]any{"items": p.Snapshot(), "calls": p.Calls(), "events": p.Events()}, nil)
}

// handEndpoint is the web pages of the portal, as far as they hurt.
func (p *Portal) handEndpoint(r *http.Request) reply {
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, errors.New("use POST"))
	}
	id := r.PostFormValue("itemId")
	slot, _ := strconv.Atoi(r.PostFormValue("apiToken"))
	var key string
	var err error
	switch action := r.PostFormValue("action"); action {
	case "regenerate":
		key, err = p.RegenerateByHand(id, slot)
	case "invalidate":
		err = p.InvalidateByHand(id, slot)
	case "delete":
		err = p.DeleteByHand(id)
	case "revoke-sessions":
		err = p.RevokeSessions()
	default:
		err = fmt.Errorf("unknown action %q (want regenerate, invalidate, delete or revoke-sessions)", action)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, err)
	}
	return answer("json", map[string]any{"success": true, "key": key}, nil)
}

// resource is the one thing that keys of this portal open. Unlike the portal it answers with true statuses.
func (p *Portal) resource(c *call) reply {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, errors.New("use GET or POST"))
	}
	token := tokenOf(c, true)
	p.mu.RLock()
	defer p.mu.RUnlock()
	who, ok := p.keyIdentity(c.now, c.knobs, token, c.r.Referer())
	if !ok {
		e := &portalError{Status: http.StatusUnauthorized, Code: 498, Message: "Invalid token."}
		if strings.TrimSpace(token) == "" {
			e.Code, e.Message = 499, "Token Required"
		}
		r := answer("json", nil, e)
		r.header = map[string]string{"WWW-Authenticate": `Bearer realm="` + Banner + `"`}
		return r
	}
	p.used.count(who.app.ClientID, cmp.Or(c.form.Get("service"), ownService), c.now)
	title := ""
	if it := p.state.items[who.app.ItemID]; it != nil {
		title = it.Title
	}
	return answer("json", struct {
		OK      bool   `json:"ok"`
		ItemID  string `json:"itemId"`
		Slot    int    `json:"slot"`
		Title   string `json:"title"`
		Expires int64  `json:"expirationDate"`
	}{true, who.app.ItemID, who.slot + 1, title, who.expires}, nil)
}
