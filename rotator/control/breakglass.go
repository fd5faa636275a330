package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/rotator/credential"
)

// BreakGlass is what an operator did at issuer and Vault while no daemon could be
// asked. It holds no secret.
type BreakGlass struct {
	Schema       int             `json:"schema"`
	ID           string          `json:"id"`
	Installation string          `json:"installation"`
	Name         credential.Name `json:"name"`
	Issuer       string          `json:"issuer"`
	At           time.Time       `json:"at"`
	Reason       string          `json:"reason"`
	// OverrideHold has the record take it though a hold stands.
	OverrideHold bool `json:"override_hold,omitempty"`
	// Keys are those that were meant.
	Keys []BrokenKey `json:"keys"`
	// Vault is the KV version that was written; nil = none was.
	Vault *uint64 `json:"vault_version,omitempty"`
	// Shown is the key that Vault has as the primary since.
	Shown credential.Fingerprint `json:"shown,omitempty"`
	// Steps say what was done and what was not, for people.
	Steps []string `json:"steps"`
}

// BrokenKey is a key that was meant.
type BrokenKey struct {
	Seat credential.SeatID `json:"seat"`
	// Fingerprint may be empty where only the seat was known.
	Fingerprint credential.Fingerprint `json:"fingerprint,omitempty"`
	Role        credential.Role        `json:"role,omitempty"`
	// Dead is true once the issuer said that the seat is inactive.
	Dead bool `json:"dead"`
}

const breakGlassSchema = 1

// Import brings it into the record.
type Import struct {
	Name credential.Name `json:"name"`
	// File is the text of the signed file.
	File string `json:"file"`
	// OverrideHold is one more way to say what the file may say.
	OverrideHold bool `json:"override_hold,omitempty"`
}

func (r *Import) credential() *credential.Name { return &r.Name }

// Import brings what was done by break-glass into the record.
func (c *Client) Import(ctx context.Context, request Import) (Answer, error) {
	return ask[Answer](ctx, c, SubjectImport, request)
}

// signed is the form of the file.
type signed struct {
	Statement json.RawMessage `json:"statement"`
	// Operator is the public key ("U…") and Signature is over the statement
	// without insignificant space; both are empty where there was no key at hand.
	Operator  string `json:"operator"`
	Signature string `json:"signature"`
}

// breakGlassVersion is the first line of what is signed.
const breakGlassVersion = "keyturn-break-glass-1\n"

func (f signed) bytes() ([]byte, error) {
	text := bytes.NewBufferString(breakGlassVersion)
	if err := json.Compact(text, f.Statement); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// Seal writes the file of a break-glass. Without a key it is not signed, and no
// daemon takes it.
func (i Identity) Seal(done BreakGlass) ([]byte, error) {
	done.Schema, done.Installation = breakGlassSchema, i.Installation
	statement, err := json.Marshal(done)
	if err != nil {
		return nil, err
	}
	file := signed{Statement: statement, Operator: i.public}
	if i.pair != nil {
		text, err := file.bytes()
		if err != nil {
			return nil, err
		}
		raw, err := i.pair.Sign(text)
		if err != nil {
			return nil, errors.New("the operator's key cannot sign")
		}
		file.Signature = base64.RawURLEncoding.EncodeToString(raw)
	}
	out, err := json.MarshalIndent(file, "", "  ")
	return append(out, '\n'), err
}

// Opened is a file that was read; nobody has looked yet whether its operator may.
type Opened struct {
	BreakGlass
	// Operator is the public key of who signed it.
	Operator string
	// Request is the id under which it is imported: the same for the same file.
	Request string
}

// OpenBreakGlass reads a file and checks its signature.
func OpenBreakGlass(data []byte) (Opened, error) {
	var file signed
	if err := strictly(data, &file); err != nil {
		return Opened{}, fmt.Errorf("it is not the file of a break-glass: %w", err)
	}
	text, err := file.bytes()
	if err != nil {
		return Opened{}, fmt.Errorf("%w: it is not the file of a break-glass: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	var opened Opened
	if err := strictly(file.Statement, &opened.BreakGlass); err != nil {
		return Opened{}, fmt.Errorf("its statement cannot be read: %w", err)
	}
	if file.Operator == "" || file.Signature == "" {
		return Opened{}, fmt.Errorf("%w: it is not signed, since there was no operator's key (try: keyturn invalidate %s --immediately with each fingerprint in it)", errBad, opened.Name)
	}
	raw, err := base64.RawURLEncoding.DecodeString(file.Signature)
	pair, keyErr := nkeys.FromPublicKey(file.Operator)
	if err != nil || keyErr != nil || pair.Verify(text, raw) != nil {
		return Opened{}, fmt.Errorf("%w: the signature is not that of the operator's key over this statement: the file was changed", errBad)
	}
	switch {
	case opened.Schema != breakGlassSchema:
		return Opened{}, fmt.Errorf("%w: it has schema %d, and this keyturn knows %d", errBad, opened.Schema, breakGlassSchema)
	case len(opened.Keys) == 0:
		return Opened{}, fmt.Errorf("%w: it names no key", errBad)
	}
	sum := sha256.Sum256(text)
	opened.Operator, opened.Request = file.Operator, "break-glass-"+hex.EncodeToString(sum[:16])
	return opened, nil
}

// takeIn appends what a file says. The daemon's next pass has the issuer
// confirm it: the seats read inactive already.
func (s *Service) takeIn(ctx context.Context, by caller, request Import) (any, error) {
	file, err := OpenBreakGlass([]byte(request.File))
	if err != nil {
		return nil, err
	}
	who, known := s.config.Operators()[file.Operator]
	switch {
	case file.Installation != s.config.Installation:
		return nil, fmt.Errorf("%w: the file is of installation %q, and this one is %q", errBad, clean(file.Installation), s.config.Installation)
	case file.Name != request.Name:
		return nil, fmt.Errorf("%w: the file is about %s, not %s", errBad, clean(string(file.Name)), request.Name)
	case file.Reason == "":
		return nil, fmt.Errorf("%w: the file has no reason", errBad)
	case file.At.After(s.config.Now().Add(credential.Freshness)):
		return nil, fmt.Errorf("%w: the file is of %s, which is yet to come (try: set the clocks by NTP)", errBad, file.At.UTC().Format(time.RFC3339))
	case !known:
		return nil, by.deny(ReasonUnknown, "the file is signed with the key %s, which is no operator's", clean(file.Operator))
	}
	if err := who.may(RoleResponder, ofCredential, file.Name); err != nil {
		return nil, by.deny(ReasonRole, "the file's signer: %v", err)
	}
	file.OverrideHold = file.OverrideHold || request.OverrideHold
	return s.takeInKeys(ctx, who.Name, file)
}

// takeInKeys appends one event for each key of the file that still is on its seat.
func (s *Service) takeInKeys(ctx context.Context, operator string, file Opened) (Answer, error) {
	total := Answer{Name: file.Name, Result: ResultUnchanged, Request: file.Request}
	for n, key := range file.Keys {
		before, err := s.config.Commander.Look(ctx, file.Name)
		if err != nil {
			return Answer{}, err
		}
		if before.Status != credential.StatusRegistered {
			return Answer{}, credential.ErrUnknown
		}
		fingerprint, gone := stillThere(before, key, file.At)
		by := caller{operator: operator, request: fmt.Sprintf("%s-%d", file.Request, n), digest: file.Request}
		command := credential.Compromise{
			Request: by.request, Actor: operator, Reason: file.Reason, Key: string(fingerprint),
			Immediately: true, OverrideHold: file.OverrideHold, Outside: file.At,
		}
		if gone != "" { // who did it, and why, is on record all the same
			command.Gone = &credential.LeakedKey{Seat: key.Seat, Fingerprint: key.Fingerprint}
			_, after, err := s.command(ctx, by, file.Name, ResultCompromised, command)
			if err != nil {
				return Answer{}, err
			}
			total.Changes, total.Revision = append(total.Changes, gone), after.Revision
			continue
		}
		if file.Vault != nil && *file.Vault > before.Vault.Version { // else the record has moved on since
			command.Vault = file.Vault
		}
		_, imported := before.Answer(by.request)
		answer, after, err := s.command(ctx, by, file.Name, ResultCompromised, command)
		switch {
		case errors.Is(err, credential.ErrHeld):
			return Answer{}, fmt.Errorf("%w (try: keyturn import --override-hold)", err)
		case err != nil:
			return Answer{}, err
		case imported || answer.Result == ResultUnchanged:
			total.Changes = append(total.Changes, fmt.Sprintf("key %s was imported before, or is known: already", fingerprint))
		default:
			total.Result = ResultCompromised
			total.Changes = append(total.Changes, fmt.Sprintf("key %s on %s: on record; its death is being confirmed", fingerprint, key.Seat))
		}
		total.Revision = after.Revision
	}
	return total, nil
}

// stillThere finds the key of the record that a file means; otherwise it says
// where it went. A seat on which a key was proven since then holds another one.
func stillThere(s credential.State, key BrokenKey, at time.Time) (credential.Fingerprint, string) {
	for _, seat := range s.Seats {
		switch {
		case key.Fingerprint != "" && (seat.Fingerprint == key.Fingerprint || seat.Over == key.Fingerprint):
			return key.Fingerprint, ""
		case key.Fingerprint == "" && seat.SeatID == key.Seat && seat.Fingerprint != "" && seat.Proven.Before(at):
			return seat.Fingerprint, ""
		}
	}
	what := "the key on " + key.Seat.String()
	if key.Fingerprint != "" {
		what = "key " + string(key.Fingerprint)
	}
	return "", what + " is on no seat of the record any more: already"
}
