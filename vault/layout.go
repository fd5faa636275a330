package vault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The fields of a secret. Those of a key stand twice: plain for the primary,
// with the prefix for the secondary. A key that is not there has no fields, so
// that a reader of api_key gets an error and not an empty key.
const (
	fieldKey         = "api_key"
	fieldFingerprint = "fingerprint"
	fieldExpires     = "expires_at" // RFC 3339; absent when the issuer named no date
	fieldSeat        = "seat"       // item/slot; absent for a key put there by hand and accepted
	fieldMint        = "mint"       // decimal
	fieldRotation    = "rotation_id"
	fieldRevision    = "revision" // decimal

	secondaryPrefix = "secondary_"
)

// encode gives the fields of a document, or says why it must not be written.
func encode(doc credential.Document) (map[string]string, error) {
	if doc.Primary.Secret.Empty() && doc.Secondary.Secret.Empty() {
		return nil, errors.New("the document holds no key")
	}
	if doc.Revision == 0 {
		return nil, errors.New("the document has no revision")
	}
	fields := map[string]string{fieldRevision: strconv.FormatUint(doc.Revision, 10)}
	if doc.RotationID != "" {
		fields[fieldRotation] = doc.RotationID
	}
	if err := encodeKey(fields, "", doc.Primary); err != nil {
		return nil, fmt.Errorf("primary: %w", err)
	}
	if err := encodeKey(fields, secondaryPrefix, doc.Secondary); err != nil {
		return nil, fmt.Errorf("secondary: %w", err)
	}
	return fields, nil
}

func encodeKey(fields map[string]string, prefix string, key credential.Key) error {
	if key.Secret.Empty() {
		if key.Fingerprint != "" {
			return errors.New("a fingerprint without its key") // a redacted view is being written back
		}
		return nil
	}
	fingerprint := key.Secret.Fingerprint()
	switch {
	case strings.Contains(key.Secret.Reveal(), credential.Secret{}.String()):
		return errors.New("the key is a redacted text")
	case key.Fingerprint != "" && key.Fingerprint != fingerprint:
		return errors.New("the fingerprint is not that of the key")
	case key.Seat != (credential.SeatID{}) && (key.Seat.Item == "" || key.Seat.Slot < 1):
		return fmt.Errorf("the seat %q names no slot of an item", key.Seat)
	}
	fields[prefix+fieldKey] = key.Secret.Reveal()
	fields[prefix+fieldFingerprint] = string(fingerprint)
	if key.Seat != (credential.SeatID{}) {
		fields[prefix+fieldSeat] = key.Seat.String()
	}
	fields[prefix+fieldMint] = strconv.FormatUint(key.Mint, 10)
	if !key.Expires.IsZero() {
		fields[prefix+fieldExpires] = key.Expires.UTC().Format(time.RFC3339Nano)
	}
	return nil
}

// decode reads the fields of a secret. A document that keyturn did not write,
// or that somebody changed by hand, comes back with Revision 0: a field is
// unreadable, or a fingerprint is not that of its key. The keys are given all
// the same, with the fingerprints that they really have.
func decode(data map[string]any) credential.Document {
	r := reader{data: data}
	doc := credential.Document{
		Primary:    r.key(""),
		Secondary:  r.key(secondaryPrefix),
		RotationID: r.text(fieldRotation),
		Revision:   r.number(fieldRevision),
	}
	if r.foreign || (doc.Primary.Secret.Empty() && doc.Secondary.Secret.Empty()) {
		doc.Revision = 0
	}
	return doc
}

// reader reads fields and remembers whether one of them was not ours.
type reader struct {
	data    map[string]any
	foreign bool
}

func (r *reader) key(prefix string) credential.Key {
	key := credential.Key{Secret: credential.NewSecret(r.text(prefix + fieldKey))}
	fingerprint := credential.Fingerprint(r.text(prefix + fieldFingerprint))
	key.Fingerprint = key.Secret.Fingerprint()
	if fingerprint != key.Fingerprint {
		r.foreign = true
	}
	if key.Secret.Empty() {
		return credential.Key{}
	}
	key.Expires = r.time(prefix + fieldExpires)
	key.Seat = r.seat(prefix + fieldSeat)
	key.Mint = r.number(prefix + fieldMint)
	return key
}

func (r *reader) text(field string) string {
	value, there := r.data[field]
	text, ok := value.(string)
	if there && !ok {
		r.foreign = true
	}
	return text
}

// number reads a decimal as it is written here: no sign, no leading zero.
func (r *reader) number(field string) uint64 {
	text := r.text(field)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != text {
		r.foreign = true
		return 0
	}
	return n
}

func (r *reader) time(field string) time.Time {
	text := r.text(field)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		r.foreign = true
		return time.Time{}
	}
	return t.UTC()
}

func (r *reader) seat(field string) credential.SeatID {
	text := r.text(field)
	if text == "" {
		return credential.SeatID{}
	}
	i := strings.LastIndexByte(text, '/')
	if i < 1 {
		r.foreign = true
		return credential.SeatID{}
	}
	slot, err := strconv.Atoi(text[i+1:])
	seat := credential.SeatID{Item: text[:i], Slot: slot}
	if err != nil || slot < 1 || seat.String() != text {
		r.foreign = true
		return credential.SeatID{}
	}
	return seat
}
