package arcgis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Manager is who this issuer is logged in as, and where.
type Manager struct {
	// User is the user name; empty with an API key.
	User string
	// Portal is the organisation's name.
	Portal string
	// Version is what the portal calls its version; the scheme differs by product.
	Version string
	// Enterprise is true for ArcGIS Enterprise, false for Online and Location Platform.
	Enterprise bool
	// Missing are privileges that managing keys needs and that the portal does
	// not list for this user. Location Platform accounts may need none of them.
	Missing []string
	// KeyExpires is when the manager's own API key expires; zero with a password,
	// or when the portal names no date.
	KeyExpires time.Time
}

// Whoami logs in and asks who we are. An anonymous answer means that the portal
// did not take the token, and is a refusal.
func (p *Portal) Whoami(ctx context.Context) (Manager, error) {
	r := request{name: "whoami", op: "ask who the manager is", path: "/portals/self"}
	var answer self
	if _, err := p.manage(ctx, r, &answer); err != nil {
		return Manager{}, err
	}
	m := Manager{Portal: answer.Name, Version: answer.Version, Enterprise: answer.Enterprise}
	switch {
	case p.config.APIKey != nil && answer.AppInfo != nil:
		m.KeyExpires = date(answer.AppInfo.Expires)
		return m, nil
	case p.config.APIKey == nil && answer.User != nil:
	default:
		return Manager{}, p.fault(r, credential.ClassDenied, errors.New("the portal answers as to a stranger"), "check the issuer's login, and that nothing on the way removes the Referer header")
	}
	m.User = answer.User.Username
	if !strings.EqualFold(m.User, p.config.Username) {
		return Manager{}, p.fault(r, credential.ClassDenied, fmt.Errorf("logged in as %q instead of %q", printable(m.User), p.config.Username), "check the issuer's username")
	}
	if answer.User.Privileges != nil {
		for _, need := range []string{"portal:user:generateApiTokens", "portal:user:assignPrivilegesToApps"} {
			if !slices.Contains(answer.User.Privileges, need) {
				m.Missing = append(m.Missing, need)
			}
		}
	}
	return m, nil
}

// Check proves that the portal is reachable and takes the login.
func (p *Portal) Check(ctx context.Context) error {
	_, err := p.Whoami(ctx)
	return err
}

// ManagerExpiry is when the manager's own API key expires; zero with a
// password, or when the portal names no date.
func (p *Portal) ManagerExpiry(ctx context.Context) (time.Time, error) {
	if p.config.APIKey == nil {
		return time.Time{}, nil
	}
	m, err := p.Whoami(ctx)
	return m.KeyExpires, err
}

// Expiring lists the portal's keys that expire before a time, and those that
// did during the last day, page by page. The list is an undocumented one: it may
// refuse API keys, and is never the only source.
func (p *Portal) Expiring(ctx context.Context, until time.Time) ([]credential.ExpiringKey, error) {
	r := request{name: "list-expiring", op: "list the keys that expire", path: "/portals/self/apiTokens"}
	from := p.issuerNow().Add(-24 * time.Hour)
	var keys []credential.ExpiringKey
	start := 1
	for range pages {
		var page struct {
			Items []struct {
				Title   string  `json:"title"`
				ItemID  string  `json:"itemId"`
				Slot    int     `json:"apiToken"`
				Expires float64 `json:"expirationDate"`
			} `json:"items"`
			NextStart int `json:"nextStart"`
		}
		r.form = url.Values{
			"num": {itoa(pageSize)}, "start": {itoa(start)},
			"startExpirationDate": {milliseconds(from)}, "endExpirationDate": {milliseconds(until)},
		}
		if _, err := p.manage(ctx, r, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if item.ItemID == "" || (item.Slot != 1 && item.Slot != 2) {
				continue // no key that can be named
			}
			keys = append(keys, credential.ExpiringKey{
				Seat:  credential.SeatID{Item: item.ItemID, Slot: item.Slot},
				Title: item.Title, Expires: date(item.Expires),
			})
		}
		if start = next(start, len(page.Items), page.NextStart); start == 0 {
			return keys, nil
		}
	}
	return nil, p.fault(r, credential.ClassPermanent, errors.New("the list has no end"), "")
}
