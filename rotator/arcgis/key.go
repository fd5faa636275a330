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

func itoa(n int) string { return strconv.Itoa(n) }

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// checkSeat refuses a seat that is none: without a slot the portal would do
// something else than asked.
func (p *Portal) checkSeat(r request, seat credential.SeatID) error {
	switch {
	case seat.Slot != 1 && seat.Slot != 2:
		return p.fault(r, credential.ClassPermanent, errors.New("a key has slot 1 or 2"), "")
	case seat.Item == "":
		return p.fault(r, credential.ClassPermanent, errors.New("no item is named"), "")
	}
	return nil
}

// app returns what is remembered of an item, or reads it. cached is true for
// what may be out of date.
func (p *Portal) app(ctx context.Context, item string) (known app, cached bool, err error) {
	if known = p.remembered(item); !known.secret.Empty() {
		return known, true, nil
	}
	if _, err := p.describe(ctx, item); err != nil {
		return app{}, false, err
	}
	if known = p.remembered(item); known.secret.Empty() { // dropped in between
		return app{}, false, p.fault(request{op: "read the registration of item " + item}, credential.ClassRetryable, errors.New("the item is changing"), "")
	}
	return known, false, nil
}

// Issue sets the slot's date and generates a key there: the key lives as long as
// the date says at that moment. The key that was there is dead afterwards.
func (p *Portal) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	r := request{
		name: "generate", op: fmt.Sprintf("generate a key on slot %d of item %s", seat.Slot, seat.Item),
		path: "/oauth2/token", changes: true,
	}
	if err := p.checkSeat(r, seat); err != nil {
		return credential.Minted{}, err
	}
	if expires.IsZero() || !expires.After(p.issuerNow()) {
		return credential.Minted{}, p.fault(r, credential.ClassPermanent, errors.New("a key cannot expire in the past"), "check this machine's clock and the policy's lifetime")
	}
	known, cached, err := p.app(ctx, seat.Item)
	if err != nil {
		return credential.Minted{}, err
	}
	update := request{
		name: "set-expiry", op: fmt.Sprintf("set the expiry of slot %d of item %s", seat.Slot, seat.Item),
		path:    userPath(known.owner, "items", seat.Item, "update"),
		form:    url.Values{fmt.Sprintf("apiToken%dExpirationDate", seat.Slot): {milliseconds(expires)}},
		changes: true,
	}
	if err := p.update(ctx, seat.Item, update); err != nil { // the date decides how long the key lives
		if credential.IsClass(err, credential.ClassPermanent) {
			err = reclassed(err, credential.ClassPermanent, "check the policy's lifetime: ArcGIS takes a day to a year, or what the issuer's min_lifetime says")
		}
		return credential.Minted{}, err
	}
	r.form = credentials(known, seat)
	r.form.Set("grant_type", "client_credentials")
	r.form.Set("regenerateApiToken", "true")
	var answer struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	clock, err := p.send(ctx, r, &answer)
	if err != nil {
		return credential.Minted{}, p.absent(ctx, seat.Item, p.appRefused(seat.Item, cached, err))
	}
	const year = 366 * 24 * 3600
	switch asked := expires.Sub(clock).Seconds(); {
	case !isKey(answer.AccessToken, seat.Slot):
		return credential.Minted{}, p.versioned(ctx, p.garbled(r, "a token that is not a key of this slot"))
	case !(answer.ExpiresIn >= 1) || answer.ExpiresIn > 100*year:
		return credential.Minted{}, p.garbled(r, "a key without a lifetime")
	case answer.ExpiresIn < asked/10:
		return credential.Minted{}, p.garbled(r, fmt.Sprintf("a key for %.0f seconds instead of %.0f", answer.ExpiresIn, asked))
	}
	left := time.Duration(answer.ExpiresIn) * time.Second
	return credential.Minted{Key: credential.NewSecret(answer.AccessToken), Expires: clock.Add(left).UTC().Truncate(time.Second)}, nil
}

// update changes fields of an item; only an answer that says success is one.
func (p *Portal) update(ctx context.Context, item string, r request) error {
	var answer struct {
		Success bool `json:"success"`
	}
	if _, err := p.manage(ctx, r, &answer); err != nil {
		if codeOf(err) != 0 {
			p.forget(item) // the owner may have changed
		}
		return p.absent(ctx, item, err)
	}
	if !answer.Success {
		return p.garbled(r, "an answer that does not say success")
	}
	return nil
}

// credentials are the fields that generating and revoking have in common. No
// manager's token goes with them.
func credentials(known app, seat credential.SeatID) url.Values {
	return url.Values{
		"client_id": {known.clientID}, "client_secret": {known.secret.Reveal()}, "apiToken": {itoa(seat.Slot)},
	}
}

// appRefused drops what is remembered of an item after a failure. A no to what
// was remembered may be about that, so reading it anew may help.
func (p *Portal) appRefused(item string, cached bool, err error) error {
	p.forget(item)
	if !cached || !credential.IsClass(err, credential.ClassPermanent) {
		return err
	}
	return reclassed(err, credential.ClassRetryable, "the item's client id and secret are read anew with the next attempt")
}

// SlotOf tells by a key's own end on which slot it was generated, 1 or 2; ok is
// false for what is no API key.
func SlotOf(key credential.Secret) (slot int, ok bool) {
	for slot := 1; slot <= 2; slot++ {
		if isKey(key.Reveal(), slot) {
			return slot, true
		}
	}
	return 0, false
}

// isKey tells a key from the short-lived token that the same call returns when
// the slot is not understood: a key ends in AT, its slot and eight characters.
func isKey(token string, slot int) bool {
	const tail = len("AT1_xxxxxxxx")
	if len(token) < 2*tail {
		return false
	}
	for i := range len(token) {
		switch c := token[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return strings.HasPrefix(token[len(token)-tail:], "AT"+itoa(slot)+"_")
}

// Revoke kills the key on a slot. The portal says success whatever happens, so
// only a read-back of inactive counts; it also turns a refusal for an empty slot
// into what it is.
func (p *Portal) Revoke(ctx context.Context, seat credential.SeatID) error {
	r := request{
		name: "revoke", op: fmt.Sprintf("revoke the key on slot %d of item %s", seat.Slot, seat.Item),
		path: "/oauth2/revokeToken", changes: true,
	}
	if err := p.checkSeat(r, seat); err != nil {
		return err
	}
	known, cached, err := p.app(ctx, seat.Item)
	if err != nil {
		return err
	}
	r.form = credentials(known, seat)
	_, err = p.send(ctx, r, nil)
	if err != nil {
		if err = p.appRefused(seat.Item, cached, err); !isRefusal(err) {
			return err
		}
	}
	info, readErr := p.registration(ctx, known.owner, seat.Item)
	if credential.IsClass(readErr, credential.ClassNotFound) { // one witness, and the owner may have changed
		var seen description
		seen, readErr = p.describe(ctx, seat.Item)
		info = seen.app
	}
	switch {
	case readErr != nil:
		return readErr
	case !info.active(seat.Slot):
		return nil
	case err != nil:
		return err
	}
	return p.fault(r, credential.ClassRetryable, errors.New("the portal said success, but the slot is still active"), "")
}

func isRefusal(err error) bool {
	var no *refusal
	return errors.As(err, &no)
}
