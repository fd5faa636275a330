package arcgis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

var (
	errNoSecret = errors.New("the portal hides the client secret")
	errSlot     = errors.New("a key has slot 1 or 2")
	errDate     = errors.New("a key cannot expire in the past")
)

func itoa(n int) string { return strconv.Itoa(n) }

// app returns what is remembered of an item, or reads it.
func (p *Portal) app(ctx context.Context, item string) (app, error) {
	if known, ok := p.remembered(item); ok {
		return known, nil
	}
	if _, err := p.Describe(ctx, item); err != nil {
		return app{}, err
	}
	known, _ := p.remembered(item)
	return known, nil
}

// Issue sets the slot's date and generates a key there. The key that was there
// is dead afterwards.
func (p *Portal) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	r := request{op: fmt.Sprintf("generate a key on slot %d of item %s", seat.Slot, seat.Item), path: "/oauth2/token", changes: true}
	if seat.Slot != 1 && seat.Slot != 2 {
		return credential.Minted{}, p.fault(r, credential.ClassPermanent, errSlot, "")
	}
	if now := p.config.Now(); expires.IsZero() || expires.Before(now.Add(p.skew())) {
		return credential.Minted{}, p.fault(r, credential.ClassPermanent, errDate, "check this machine's clock")
	}
	known, err := p.app(ctx, seat.Item)
	if err != nil {
		return credential.Minted{}, err
	}
	update := request{
		op:      fmt.Sprintf("set the expiry of slot %d of item %s", seat.Slot, seat.Item),
		path:    "/content/users/" + url.PathEscape(known.owner) + "/items/" + url.PathEscape(seat.Item) + "/update",
		form:    url.Values{fmt.Sprintf("apiToken%dExpirationDate", seat.Slot): {strconv.FormatInt(expires.UnixMilli(), 10)}},
		changes: true,
	}
	if _, err := p.manage(ctx, update, nil); err != nil {
		return credential.Minted{}, notMinted(err)
	}
	r.form = url.Values{
		"client_id": {known.clientID}, "client_secret": {known.secret.Reveal()},
		"grant_type": {"client_credentials"},
		"apiToken":   {itoa(seat.Slot)}, "regenerateApiToken": {"true"},
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	clock, err := p.send(ctx, r, &answer)
	if err != nil {
		p.forget(seat.Item)
		return credential.Minted{}, err
	}
	if !isKey(answer.AccessToken, seat.Slot) {
		return credential.Minted{}, p.garbled(r, "a token that is not a key of this slot")
	}
	left := time.Duration(answer.ExpiresIn) * time.Second
	if left <= 0 {
		return credential.Minted{}, p.garbled(r, "a key without a lifetime")
	}
	return credential.Minted{Key: credential.NewSecret(answer.AccessToken), Expires: clock.Add(left).UTC().Truncate(time.Second)}, nil
}

// notMinted: setting the date changes no key, so a lost answer to it leaves
// nothing unknown.
func notMinted(err error) error {
	var fault *credential.Fault
	if errors.As(err, &fault) && fault.Class == credential.ClassUnknown {
		plain := *fault
		plain.Class = credential.ClassRetryable
		return &plain
	}
	return err
}

// isKey tells a key from the short-lived token that the same call returns when
// the slot is not understood: a key ends in AT, its slot and eight characters.
func isKey(token string, slot int) bool {
	const tail = len("AT1_xxxxxxxx")
	if len(token) < 2*tail {
		return false
	}
	end := token[len(token)-tail:]
	return strings.HasPrefix(end, "AT"+itoa(slot)+"_")
}

// Revoke kills the key on a slot. The portal says success whatever happens, so
// only a read-back of inactive counts.
func (p *Portal) Revoke(ctx context.Context, seat credential.SeatID) error {
	r := request{op: fmt.Sprintf("revoke the key on slot %d of item %s", seat.Slot, seat.Item), path: "/oauth2/revokeToken", changes: true}
	if seat.Slot != 1 && seat.Slot != 2 {
		return p.fault(r, credential.ClassPermanent, errSlot, "")
	}
	known, err := p.app(ctx, seat.Item)
	if err != nil {
		return err
	}
	r.form = url.Values{
		"client_id": {known.clientID}, "client_secret": {known.secret.Reveal()},
		"apiToken": {itoa(seat.Slot)},
	}
	if _, err := p.send(ctx, r, nil); err != nil {
		p.forget(seat.Item)
		return err
	}
	info, err := p.registration(ctx, known.owner, seat.Item)
	if err != nil {
		return err
	}
	if (seat.Slot == 1 && info.Active1) || (seat.Slot == 2 && info.Active2) {
		return p.fault(r, credential.ClassRetryable, errors.New("the portal said success, but the slot is still active"), "")
	}
	return nil
}

func (p *Portal) skew() time.Duration {
	skew, _, _ := p.Skew()
	return skew
}

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
