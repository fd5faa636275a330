package arcgis

import (
	"context"
	"errors"
	"strings"
	"unicode"

	"github.com/keyturn/keyturn/rotator/credential"
)

// self is what the portal says to the holder of a token or key.
type self struct {
	Name       string `json:"name"`
	Version    string `json:"currentVersion"`
	Enterprise bool   `json:"isPortal"`
	AppInfo    *struct {
		ItemID  string  `json:"itemId"`
		Expires float64 `json:"expirationDate"`
	} `json:"appInfo"`
	User *struct {
		Username   string   `json:"username"`
		Privileges []string `json:"privileges"`
	} `json:"user"`
}

// Probe asks the portal whether it accepts a key. An anonymous answer is a
// refusal as well; a key of another item is permanent. A 403 is no word on the
// key, since the question needs no privilege.
func (p *Portal) Probe(ctx context.Context, probe credential.ProbeRequest) (credential.Proof, error) {
	r := request{
		name: "probe", op: "probe a key of item " + probe.Item, path: "/portals/self",
		token: probe.Key, referer: matching(probe.Referrers),
	}
	if probe.Key.Empty() {
		return credential.Proof{}, p.fault(r, credential.ClassPermanent, errors.New("there is no key to probe"), "")
	}
	var answer self
	clock, err := p.send(ctx, r, &answer)
	switch {
	case rejected(err):
		return credential.Proof{}, p.fault(r, credential.ClassDenied, unwrapped(err), "it is expired, revoked, too new, or its referrers do not let "+p.refererOf(r)+" pass")
	case credential.IsClass(err, credential.ClassDenied):
		return credential.Proof{}, p.fault(r, credential.ClassRetryable, unwrapped(err), "check that this address may call the portal")
	case err != nil:
		return credential.Proof{}, err
	case answer.AppInfo == nil:
		return credential.Proof{}, p.fault(r, credential.ClassDenied, errors.New("the portal answers as to a stranger"), "check that nothing on the way changes requests")
	case answer.AppInfo.ItemID != probe.Item:
		return credential.Proof{}, p.fault(r, credential.ClassPermanent, errors.New("the key belongs to another item"), "")
	}
	return credential.Proof{Expires: date(answer.AppInfo.Expires), Clock: clock}, nil
}

func (p *Portal) refererOf(r request) string {
	if r.referer != "" {
		return r.referer
	}
	return p.config.Referer
}

func unwrapped(err error) error {
	var no *refusal
	if errors.As(err, &no) {
		return no
	}
	return errors.Unwrap(err)
}

// matching returns a Referer that the referrers let pass; empty = any. How
// exactly the portal compares is not known, so one that says its scheme is
// preferred, then one without a wildcard, and what comes out is what a browser
// would send.
func matching(referrers []string) string {
	best, points := "", -1
	for _, referrer := range referrers {
		referrer = strings.TrimSpace(referrer)
		if referrer == "" || !plain(referrer) {
			continue
		}
		worth := 0
		if strings.Contains(referrer, "://") {
			worth += 2
		}
		if !strings.Contains(referrer, "*") {
			worth++
		}
		if worth > points {
			best, points = referrer, worth
		}
	}
	if best == "" {
		return ""
	}
	scheme, rest, found := strings.Cut(best, "://")
	if !found {
		scheme, rest = "https", best
	}
	if strings.Contains(scheme, "*") {
		scheme = "https"
	}
	host, path, _ := strings.Cut(rest, "/")
	if colon := strings.LastIndex(host, ":"); colon > strings.LastIndex(host, "]") && strings.Contains(host[colon:], "*") {
		host = host[:colon] + ":443"
	}
	if strings.Trim(host, "*") == "" {
		host = "keyturn.example"
	}
	return scheme + "://" + strings.ReplaceAll(host, "*", "keyturn") + "/" + strings.ReplaceAll(path, "*", "keyturn")
}

// plain reports whether a text may stand in a header.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) })
}
