package arcgis

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// self is what the portal says to the holder of a token or key.
type self struct {
	AppInfo *struct {
		ItemID  string `json:"itemId"`
		Expires int64  `json:"expirationDate"`
	} `json:"appInfo"`
	User *struct {
		Username string `json:"username"`
	} `json:"user"`
	Name string `json:"name"`
}

// Probe asks the portal whether it accepts a key. An anonymous answer is a
// refusal, and so is a key of another item.
func (p *Portal) Probe(ctx context.Context, probe credential.ProbeRequest) (credential.Proof, error) {
	r := request{
		op: "probe a key of item " + probe.Item, path: "/portals/self",
		token: probe.Key, referer: matching(probe.Referrers),
	}
	if probe.Key.Empty() {
		return credential.Proof{}, p.fault(r, credential.ClassPermanent, errors.New("there is no key to probe"), "")
	}
	var answer self
	clock, err := p.send(ctx, r, &answer)
	switch {
	case err != nil:
		return credential.Proof{}, err
	case answer.AppInfo == nil:
		return credential.Proof{}, p.fault(r, credential.ClassDenied, errors.New("the portal answers as to a stranger"), "check the key's referrers")
	case answer.AppInfo.ItemID != probe.Item:
		return credential.Proof{}, p.fault(r, credential.ClassPermanent, errors.New("the key belongs to another item"), "")
	}
	return credential.Proof{Expires: date(answer.AppInfo.Expires), Clock: clock}, nil
}

// matching returns a referer that one of the referrers lets pass; empty = any.
func matching(referrers []string) string {
	if len(referrers) == 0 {
		return ""
	}
	return strings.ReplaceAll(referrers[0], "*", "keyturn")
}

// Check logs in and asks who we are: an anonymous answer means that the portal
// did not take the token.
func (p *Portal) Check(ctx context.Context) error {
	r := request{op: "ask who the manager is", path: "/portals/self"}
	var answer self
	if _, err := p.manage(ctx, r, &answer); err != nil {
		return err
	}
	if answer.User == nil && answer.AppInfo == nil {
		return p.fault(r, credential.ClassDenied, errors.New("the portal answers as to a stranger"), "check the issuer's login and referer")
	}
	return nil
}

// ManagerExpiry is when the manager's own API key expires; zero with a
// password, or when the portal names no date.
func (p *Portal) ManagerExpiry(ctx context.Context) (time.Time, error) {
	if p.config.APIKey == nil {
		return time.Time{}, nil
	}
	var answer self
	if _, err := p.manage(ctx, request{op: "ask when the manager's API key expires", path: "/portals/self"}, &answer); err != nil || answer.AppInfo == nil {
		return time.Time{}, err
	}
	return date(answer.AppInfo.Expires), nil
}

// Expiring lists the portal's keys that expire before a time, page by page.
func (p *Portal) Expiring(ctx context.Context, until time.Time) ([]credential.ExpiringKey, error) {
	var keys []credential.ExpiringKey
	const num = 100
	from := p.config.Now().Add(-24 * time.Hour)
	for start := 1; ; {
		var page struct {
			Items []struct {
				Title   string `json:"title"`
				ItemID  string `json:"itemId"`
				Slot    int    `json:"apiToken"`
				Expires int64  `json:"expirationDate"`
			} `json:"items"`
			NextStart int `json:"nextStart"`
		}
		form := url.Values{
			"num": {itoa(num)}, "start": {itoa(start)},
			"startExpirationDate": {milliseconds(from)}, "endExpirationDate": {milliseconds(until)},
		}
		if _, err := p.manage(ctx, request{op: "list the keys that expire", path: "/portals/self/apiTokens", form: form}, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			keys = append(keys, credential.ExpiringKey{
				Seat:  credential.SeatID{Item: item.ItemID, Slot: item.Slot},
				Title: item.Title, Expires: date(item.Expires),
			})
		}
		if page.NextStart <= start {
			return keys, nil
		}
		start = page.NextStart
	}
}
