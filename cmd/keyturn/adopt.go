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

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

func adoptCommand(o *options) *cobra.Command {
	a := &adopting{options: o}
	cmd := &cobra.Command{
		Use:   "adopt NAME --issuer ISSUER --item ID (--key-from-vault PATH[#FIELD] | --key-stdin)",
		Short: "Take an existing key under management, as it is", Args: cobra.ExactArgs(1),
		Long: `Take a key under management that somebody made by hand. Nothing rotates: applications go
on with the very same key, and the next rotation comes in its time.

The key is read from Vault or from standard input, never from an argument. It is looked
for at the issuer, with the login of the configuration here, and used once. Then it is
written where the credential's secret is, with the login at Vault of the configuration
here (deploy/vault/adopter.hcl), and a daemon makes sure of all of it and puts it on
record. If the daemon refuses, what was written is taken back. After a crash the same
command again goes on.

Title, folder, tags, description, privileges, items and referrers are those of the item.
With -f FILE the declaration of that name in it says what is wanted: policy, labels,
owner, and settings; where those differ from the item's, that is said, and a succession
follows at once. Without a file a key lives 90d.

Exit code 0: adopted. 1: refused, and nothing is changed. 3: it is managed already.`,
		Example: `  keyturn adopt maps/web --issuer portal --item 0123456789abcdef0123456789abcdef --key-from-vault secret/shop/maps#key
  keyturn adopt maps/web --issuer portal --item 0123456789abcdef0123456789abcdef --key-stdin -f credentials.yaml < key.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := credential.ParseName(args[0])
			if err != nil {
				return usage(err)
			}
			a.name, a.in, a.out, a.warn = name, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			if err := a.check(); err != nil {
				return usage(err)
			}
			return a.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.issuer, "issuer", "", "the issuer that has the item (required)")
	f.StringVar(&a.item, "item", "", "the item's id at the issuer (required)")
	f.StringVar(&a.fromVault, "key-from-vault", "", "where the key is in Vault, as for vault kv get: PATH or PATH#FIELD (default field api_key)")
	f.BoolVar(&a.fromStdin, "key-stdin", false, "read the key from standard input")
	f.StringVarP(&a.file, "file", "f", "", "file with the declaration of that name")
	f.BoolVar(&a.dropFields, "drop-fields", false, "lose the fields that others put beside the key")
	f.BoolVar(&a.dryRun, "dry-run", false, "look at everything, say what would happen, change nothing")
	return cmd
}

// adopting is one run of the command.
type adopting struct {
	*options
	name                          credential.Name
	issuer, item, fromVault, file string
	fromStdin, dropFields, dryRun bool

	in        io.Reader
	out, warn io.Writer

	reader *reader
	client *control.Client
	store  *vault.Client
	key    credential.Secret
	seat   credential.SeatID
	state  credential.State // of the name, before
	found  credential.FoundItem
	spec   credential.Spec
	was    vault.Found // what Vault held
}

func (a *adopting) check() error {
	switch {
	case a.issuer == "" || a.item == "":
		return errors.New("want --issuer and --item: where the key lives (try: keyturn discover)")
	case a.fromStdin == (a.fromVault != ""):
		return errors.New("want --key-from-vault or --key-stdin: one of them")
	case a.fromStdin && a.file == "-":
		return errors.New("standard input is the key's; give -f a file")
	case arcgisKey(a.item), arcgisKey(a.fromVault):
		return errors.New("that is a key, which stands in the shell's history and in the list of processes now: have it die (keyturn rotate, or invalidate it at the issuer), and give a key by --key-stdin or --key-from-vault only")
	}
	return nil
}

func arcgisKey(text string) bool {
	_, ok := arcgis.SlotOf(credential.NewSecret(text))
	return ok
}

// say tells people; with -o json standard output is for the answer alone.
func (a *adopting) say(format string, args ...any) {
	out := a.out
	if a.output == "json" {
		out = a.warn
	}
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}

func (a *adopting) run(ctx context.Context) error {
	if a.fromStdin { // before anything is waited for
		if err := a.readStdin(); err != nil {
			return usage(err)
		}
	}
	var err error
	if a.reader, err = a.connect(ctx); err != nil {
		return err
	}
	defer a.reader.close()
	if err := a.openStore(ctx); err != nil {
		return err
	}
	if a.client, err = a.reader.client(ctx); err != nil {
		return err
	}
	if err := a.readKey(ctx); err != nil {
		return err
	}
	done, err := a.before(ctx)
	if err != nil || done {
		return err
	}
	expires, err := a.look(ctx)
	if err != nil {
		return err
	}
	if err := a.declared(ctx); err != nil {
		return err
	}
	if err := a.checkVault(ctx); err != nil {
		return err
	}
	a.foretell(expires)
	if a.dryRun {
		return nil
	}
	return a.adopt(ctx, expires)
}

// openStore logs in to Vault; what else the configuration takes from there goes
// by the same login.
func (a *adopting) openStore(ctx context.Context) error {
	store, err := openVault(a.reader.config.Vault, 1, nil, nil)
	if err != nil {
		return err
	}
	if a.reader.vault != nil {
		a.reader.vault.Close()
	}
	a.reader.vault, a.store = store, store
	return store.Login(ctx)
}

func (a *adopting) readStdin() error {
	if isTerminal(a.in) {
		_, _ = fmt.Fprintln(a.warn, "paste the key, then Enter and Ctrl-D")
	}
	data, err := io.ReadAll(io.LimitReader(a.in, maxKey))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	a.key, err = soleKey("standard input", string(data))
	return err
}

// soleKey takes a key out of what stands around one that was copied.
func soleKey(where, text string) (credential.Secret, error) {
	text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	switch {
	case text == "":
		return credential.Secret{}, fmt.Errorf("%s: there is no key", where)
	case strings.ContainsAny(text, "\r\n"):
		return credential.Secret{}, fmt.Errorf("%s: more than one line: want one key", where)
	}
	return credential.NewSecret(text), nil
}

// readKey reads the key from Vault, if it is there, and finds its slot.
func (a *adopting) readKey(ctx context.Context) error {
	if a.fromVault != "" {
		path, field, ok := strings.Cut(a.fromVault, "#")
		if !ok {
			field = "api_key"
		}
		value, err := a.store.Get(ctx, path, field)
		if err != nil {
			return err
		}
		if a.key, err = soleKey(a.fromVault, value.Reveal()); err != nil {
			return err
		}
	}
	slot, ok := arcgis.SlotOf(a.key)
	if !ok {
		return errors.New("that is no API key: those end in AT1_ or AT2_ and eight characters (try: the whole key, with nothing around it)")
	}
	a.seat = credential.SeatID{Item: a.item, Slot: slot}
	return nil
}

// before looks at the record: the name must be free, and the item nobody's. It
// reports whether there is nothing to do.
func (a *adopting) before(ctx context.Context) (done bool, err error) {
	record, err := a.reader.record(ctx)
	if err != nil {
		return false, err
	}
	if a.state, _, err = record.Load(ctx, a.name); err != nil {
		return false, err
	}
	if a.state.Status == credential.StatusRegistered {
		primary, _ := a.state.Primary()
		switch {
		case a.state.Removing != nil:
			return false, fmt.Errorf("%s: it is being removed (try: keyturn remove %s --reason …, which follows it, and then again)", a.name, a.name)
		case primary.SeatID != a.seat || primary.Fingerprint != a.key.Fingerprint():
			return false, fmt.Errorf("%s: a credential of this name is managed already, with another key (try: another name; keyturn show %s)", a.name, a.name)
		}
		already := control.Answer{Name: a.name, Result: control.ResultUnchanged, Detail: "it is managed already, with this very key", Revision: a.state.Revision}
		if err := printAnswers(a.out, a.output, []control.Answer{already}, false); err != nil {
			return true, err
		}
		return true, nothing()
	}
	entries, err := a.reader.all(ctx)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if err := managed(e.Name, e.State, a.item); err != nil && e.Name != a.name {
			return false, err
		}
	}
	return false, nil
}

// look finds the item and uses the key, and tells when that ends.
func (a *adopting) look(ctx context.Context) (expires time.Time, err error) {
	c, ok := a.reader.config.Issuers[a.issuer]
	if !ok {
		return expires, usage(fmt.Errorf("no issuer %q is configured here (there are: %s)", a.issuer, strings.Join(slices.Sorted(maps.Keys(a.reader.config.Issuers)), ", ")))
	}
	portal, err := openIssuer(a.issuer, c, a.reader.get, nil, zap.NewNop())
	if err != nil {
		return expires, err
	}
	defer portal.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if a.found, err = portal.Look(ctx, a.item); err != nil {
		return expires, err
	}
	if other := a.found.Installation; other != "" && other != a.reader.config.Installation {
		return expires, fmt.Errorf("item %s: the installation %q manages it, by its type keywords (try: keyturn remove … --keep-item there; if that installation is gone, delete the keywords that begin with keyturn- in the portal)", a.item, other)
	}
	slot := a.found.Slots[a.seat.Slot-1]
	if !slot.Active {
		return expires, fmt.Errorf("the key's slot %d of item %s is inactive at the issuer: the key is dead, or of another item (try: look at the item's keys in the portal)", a.seat.Slot, a.item)
	}
	proof, err := portal.Probe(ctx, credential.ProbeRequest{Key: a.key, Item: a.item, Referrers: a.found.Spec.Referrers})
	if credential.IsClass(err, credential.ClassDenied) {
		return expires, fmt.Errorf("the issuer refuses the key, and slot %d of item %s is active: another key was generated there since, or it is no key of this item: %w", a.seat.Slot, a.item, err)
	}
	if err != nil {
		return expires, err
	}
	if expires = proof.Expires; expires.IsZero() {
		expires = slot.Expires
	}
	if expires.IsZero() {
		return expires, fmt.Errorf("item %s: the issuer names no expiry of the key (try: set an expiration date in the portal)", a.item)
	}
	return expires, nil
}
