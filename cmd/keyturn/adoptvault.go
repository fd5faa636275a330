package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// checkVault looks at what the credential's secret is now.
func (a *adopting) checkVault(ctx context.Context) (err error) {
	if a.was, err = a.store.Find(ctx, a.name); err != nil {
		return err
	}
	path := secretPath(a.reader.config.Vault, a.name)
	left := a.was.Revision != 0 && a.was.Revision <= a.state.Revision // by an earlier life, with a dead key
	if !a.was.Missing && a.was.Primary.Secret != a.key && !left {
		return fmt.Errorf("%s holds something else than this key (version %d), and nothing was changed (try: another name; or move away what is there, then again)", path, a.was.Version)
	}
	if len(a.was.Extra) > 0 && !a.dropFields {
		return fmt.Errorf("%s has fields beside the key that keyturn does not keep: %s; nothing was changed (try: move them to another path, and have applications read the key from the field api_key; or --drop-fields, to lose them)",
			path, strings.Join(a.was.Extra, ", "))
	}
	return nil
}

// adopt writes the key where applications will read it, and has a daemon put it on
// record.
func (a *adopting) adopt(ctx context.Context, expires time.Time) error {
	doc := credential.Document{
		Primary: credential.Key{
			Secret: a.key, Fingerprint: a.key.Fingerprint(), Expires: expires.UTC(), Seat: a.seat, Mint: a.state.Mint + 1,
		},
		Revision: a.state.Revision + 1,
	}
	var written uint64 // 0 = an earlier run wrote it
	if a.was.Document != doc || len(a.was.Extra) > 0 {
		var err error
		if written, err = a.store.Write(ctx, a.name, doc, a.was.Version); err != nil {
			return fmt.Errorf("%w; nothing is on record (try: the same command again)", err)
		}
	}
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	answer, err := a.client.Adopt(asking, control.Adopt{Name: a.name, Spec: a.spec, Item: a.item, Fingerprint: a.key.Fingerprint()})
	cancel()
	switch {
	case err == nil:
	case !refused(err):
		return fmt.Errorf("%s: %w; whether it is on record is not known, so the key stays in Vault (try: the same command again, which goes on)", a.name, err)
	case written == 0:
		return fmt.Errorf("%s: %w; what an earlier run wrote to %s is left there (to take it away: vault kv delete)", a.name, err, secretPath(a.reader.config.Vault, a.name))
	default:
		return fmt.Errorf("%s: %w; %s", a.name, err, a.takeBack(ctx, written))
	}
	if answer.Result == control.ResultAdopted {
		answer.Detail = "applications go on with the key that they have"
	}
	if err := printAnswers(a.out, a.output, []control.Answer{answer}, false); err != nil {
		return err
	}
	if answer.Result == control.ResultUnchanged {
		return nothing()
	}
	if a.was.Missing || a.was.Primary.Secret != a.key {
		a.say("have them read it from %s, field api_key, before the next rotation: no other copy of it is renewed", secretPath(a.reader.config.Vault, a.name))
	}
	return nil
}

// refused reports whether no daemon puts the adoption on record any more.
func refused(err error) bool {
	var no *control.Refusal
	if errors.As(err, &no) {
		return no.Code != control.CodeUnavailable && !no.Resent
	}
	return errors.Is(err, control.ErrNoDaemon)
}

// takeBack undoes the write, and says so.
func (a *adopting) takeBack(ctx context.Context, written uint64) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	path := secretPath(a.reader.config.Vault, a.name)
	if err := a.store.Restore(ctx, a.name, a.was, written); err != nil {
		return fmt.Sprintf("what was written to %s could not be taken back: %v", path, err)
	}
	if a.was.Missing {
		return "what was written to " + path + " was taken back"
	}
	return path + " is again what it was"
}
