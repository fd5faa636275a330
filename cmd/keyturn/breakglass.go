package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

// breakGlass kills a key at the issuer from here: no NATS, no daemon. It reads
// Vault for where the key lives, or is told that by hand.
type breakGlass struct {
	*options
	wanted bool
	name   credential.Name

	issuer, key, reason string
	overrideHold        bool
	byHand              credential.SeatID
	fingerprint, file   string

	out, warn io.Writer

	config *config.Config
	store  *vault.Client // nil = Vault is away
	portal *lane
	doc    credential.Stored
	done   control.BreakGlass
}

func (g *breakGlass) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&g.wanted, "break-glass", false, "without NATS and daemons: at the issuer and in Vault, from here, with the rights of break_glass in the configuration")
	f.StringVar(&g.file, "out", "", "with --break-glass: the file for keyturn import (default keyturn-break-glass-NAME-TIME.json)")
	f.StringVar(&g.byHand.Item, "item", "", "with --break-glass: the item at the issuer, where Vault cannot say it; with --issuer and --slot")
	f.IntVar(&g.byHand.Slot, "slot", 0, "with --break-glass: the slot, 1 or 2")
	f.StringVar(&g.fingerprint, "fingerprint", "", "with --break-glass and --item: the fingerprint of the key, if known")
}

// given reports whether a flag is there that means nothing without --break-glass.
func (g *breakGlass) given() bool {
	return g.file != "" || g.byHand != (credential.SeatID{}) || g.fingerprint != ""
}

func (g *breakGlass) check() error {
	switch {
	case g.byHand == (credential.SeatID{}) && g.fingerprint != "":
		return usage(errors.New("--fingerprint goes with --item and --slot; otherwise: --key FINGERPRINT"))
	case g.byHand == (credential.SeatID{}):
		return nil
	case g.byHand.Item == "" || (g.byHand.Slot != 1 && g.byHand.Slot != 2):
		return usage(errors.New("want --item and --slot together, the slot 1 or 2"))
	case g.fingerprint != "" && !fingerprintForm.MatchString(g.fingerprint):
		return usage(errors.New("--fingerprint: want 16 hexadecimal digits"))
	}
	return nil
}

// say tells a step, and keeps it for the file.
func (g *breakGlass) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	g.done.Steps = append(g.done.Steps, text)
	out := g.out
	if g.output == "json" {
		out = g.warn
	}
	_, _ = fmt.Fprintf(out, "%s  %s\n", wallClock().Format("15:04:05"), text)
}

func (g *breakGlass) run(ctx context.Context) error {
	if err := g.check(); err != nil {
		return err
	}
	c, _, err := g.load()
	if err != nil {
		return err
	}
	g.config = c
	normal := g.normalWay(ctx)
	defer g.close()
	g.openVault(ctx)
	keys, err := g.find(ctx)
	if err != nil {
		return err
	}
	if err := g.openPortal(ctx, keys[0].Seat.Item); err != nil {
		return err
	}
	g.done = control.BreakGlass{
		ID: uuid.NewString(), Name: g.name, Issuer: g.issuer, At: wallClock().UTC(), Reason: g.reason,
		OverrideHold: g.overrideHold, Keys: keys, Steps: g.done.Steps,
	}
	identity, err := identityOf(ctx, c, g.get)
	if err != nil {
		g.say("the file will not be signed, so no daemon takes it: %v", err)
		identity = control.Identity{Installation: c.Installation}
	}
	file := newGlassFile(g.file, g.name, g.done.At)
	if err := file.write(identity, g.done); err != nil {
		g.say("the file cannot be written, so its content is printed at the end: %v", err)
	}
	failed := g.kill(ctx)
	failed = !g.swap(ctx) || failed
	select {
	case answers := <-normal:
		if answers {
			g.say("the daemons answer: keyturn invalidate %s without --break-glass works, too", g.name)
		}
	default:
	}
	return g.end(identity, file, failed)
}

// normalWay finds out beside the rest whether the daemons could have been asked.
func (g *breakGlass) normalWay(ctx context.Context) <-chan bool {
	answers := make(chan bool, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		conn, err := connectNATS(ctx, g.config.NATS, nil, false)
		if err != nil {
			answers <- false
			return
		}
		defer conn.Close()
		up := control.Ping(ctx, conn) == nil
		if up {
			_, _ = fmt.Fprintf(g.warn, "keyturn: the daemons answer: the normal way exists (the same command without --break-glass). Going on all the same.\n")
		}
		answers <- up
	}()
	return answers
}

func (g *breakGlass) get(ctx context.Context, path, field string) (credential.Secret, error) {
	if g.store == nil {
		return credential.Secret{}, errors.New("Vault is away") //nolint:staticcheck // its name
	}
	return g.store.Get(ctx, path, field)
}

func (g *breakGlass) close() {
	if g.portal != nil {
		g.portal.Close()
	}
	if g.store != nil {
		g.store.Close()
	}
}

// openVault logs in to Vault and reads the credential's secret; without it, it
// goes on with what was given by hand.
func (g *breakGlass) openVault(ctx context.Context) {
	settings := g.config.Vault
	if l := g.config.BreakGlass.VaultLogin; l != (config.Login{}) {
		settings.Login = l
	}
	ctx, cancel := context.WithTimeout(ctx, glassPatience)
	defer cancel()
	store, err := openVault(settings, 1, nil, nil)
	if err == nil {
		err = store.Login(ctx)
	}
	if err != nil {
		g.say("Vault cannot be used: %v", err)
		return
	}
	g.store = store
	if g.doc, err = store.Read(ctx, g.name); err != nil {
		g.say("the secret cannot be read: %v", err)
	}
}

// glassPatience bounds each thing that a break-glass waits for.
const glassPatience = 15 * time.Second

// find says on which seats the keys live that are meant.
func (g *breakGlass) find(_ context.Context) ([]control.BrokenKey, error) {
	if g.byHand != (credential.SeatID{}) {
		return []control.BrokenKey{{Seat: g.byHand, Fingerprint: credential.Fingerprint(g.fingerprint), Role: g.roleOf(g.byHand)}}, nil
	}
	const byHand = "where you know it from elsewhere (keyturn show, the portal): --issuer ISSUER --item ID --slot 1|2"
	if g.doc.Version == 0 || g.doc.Missing {
		return nil, fmt.Errorf("%s: Vault does not say where its keys live, so nothing was done (try: %s)", g.name, byHand)
	}
	if g.key == credential.KeyPrimary && g.doc.Revision > ahead {
		return nil, fmt.Errorf("%s: an earlier break-glass gave applications the key that they have now, %s, so it is not the one that leaked then; nothing was done (try: --key %s, if it leaked, too; to go on with the other: %s)",
			g.name, g.doc.Primary.Fingerprint, g.doc.Primary.Fingerprint, byHand)
	}
	var keys []control.BrokenKey
	var there []string
	for _, k := range []struct {
		key  credential.Key
		role credential.Role
		word string
	}{{g.doc.Primary, credential.RolePrimary, credential.KeyPrimary}, {g.doc.Secondary, "", credential.KeySecondary}} {
		if k.key.Secret.Empty() {
			continue
		}
		there = append(there, fmt.Sprintf("%s (%s)", k.key.Fingerprint, k.word))
		if g.key != credential.KeyAll && g.key != k.word && g.key != string(k.key.Fingerprint) {
			continue
		}
		if k.key.Seat == (credential.SeatID{}) {
			return nil, fmt.Errorf("%s: Vault does not say on which seat key %s lives: it was put there by hand; nothing was done (try: %s)", g.name, k.key.Fingerprint, byHand)
		}
		keys = append(keys, control.BrokenKey{Seat: k.key.Seat, Fingerprint: k.key.Fingerprint, Role: k.role})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: Vault carries no key %s; it has %s; nothing was done (try: %s)", g.name, g.key, orDash(strings.Join(there, ", ")), byHand)
	}
	return keys, nil
}

// roleOf is primary if Vault says that applications have the key on a seat.
func (g *breakGlass) roleOf(seat credential.SeatID) credential.Role {
	if g.doc.Primary.Seat == seat {
		return credential.RolePrimary
	}
	return ""
}

// openPortal logs in at the issuer, as break_glass says. With several, the one
// that has the item is meant.
func (g *breakGlass) openPortal(ctx context.Context, item string) error {
	names := slices.Sorted(maps.Keys(g.config.Issuers))
	if g.issuer != "" {
		if _, ok := g.config.Issuers[g.issuer]; !ok {
			return usage(fmt.Errorf("--issuer %s: there is no such issuer in the configuration; there are %s", g.issuer, strings.Join(names, ", ")))
		}
		names = []string{g.issuer}
	}
	var why []error
	for _, name := range names {
		portal, err := g.portalOf(name)
		if err == nil && len(names) > 1 {
			asking, cancel := context.WithTimeout(ctx, glassPatience)
			_, err = portal.Describe(asking, item)
			cancel()
		}
		if err == nil {
			g.portal, g.issuer = portal, name
			return nil
		}
		if portal != nil {
			portal.Close()
		}
		why = append(why, fmt.Errorf("issuer %s: %w", name, err))
	}
	return fmt.Errorf("nothing was done: no issuer was found that has item %s (try: --issuer, if you know it): %w", item, errors.Join(why...))
}

func (g *breakGlass) portalOf(name string) (*lane, error) {
	settings := g.config.Issuers[name]
	if account, ok := g.config.BreakGlass.Issuers[name]; ok {
		settings.Username, settings.Password, settings.APIKey = account.Username, account.Password, account.APIKey
	}
	return openIssuer(name, settings, g.get, nil, zap.NewNop())
}
