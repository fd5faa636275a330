package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
	"github.com/keyturn/keyturn/vault"
)

// reader is what the commands see the record through.
type reader struct {
	config   *config.Config
	calendar *schedule.Calendar
	conn     *nats.Conn
	vault    *vault.Client // for what the configuration takes from Vault; logs in when asked
	get      config.VaultGet
}

// one connects and reads one credential, which may be removed; the reader is the
// caller's to close.
func (o *options) one(ctx context.Context, name string) (*reader, credential.State, error) {
	r, err := o.connect(ctx)
	if err != nil {
		return nil, credential.State{}, err
	}
	state, err := r.known(ctx, name)
	if err != nil {
		r.close()
		return nil, credential.State{}, err
	}
	return r, state, nil
}

// connect reads the configuration and connects to NATS.
func (o *options) connect(ctx context.Context) (*reader, error) {
	c, calendar, err := o.load()
	if err != nil {
		return nil, err
	}
	r := &reader{config: c, calendar: calendar}
	r.get = func(ctx context.Context, path, field string) (credential.Secret, error) {
		if r.vault == nil {
			client, err := openVault(c.Vault, c.Daemon.Workers, nil, nil)
			if err != nil {
				return credential.Secret{}, err
			}
			if err := client.Login(ctx); err != nil {
				return credential.Secret{}, err
			}
			r.vault = client
		}
		return r.vault.Get(ctx, path, field)
	}
	r.conn, err = connectNATS(ctx, c.NATS, r.get, false)
	return r, err
}

func (r *reader) close() {
	r.conn.Close()
	if r.vault != nil {
		r.vault.Close()
	}
}

// client asks the daemons, as the operator of the configuration.
func (r *reader) client(ctx context.Context) (*control.Client, error) {
	identity, err := identityOf(ctx, r.config, r.get)
	if err != nil {
		return nil, err
	}
	return control.NewClient(r.conn, identity), nil
}

func (r *reader) record(ctx context.Context) (*publisher.Record, error) {
	return openRecord(ctx, r.config, r.conn, publisher.Config{})
}

// all reads every credential, by name. Removed ones are left out.
func (r *reader) all(ctx context.Context) ([]credential.Entry, error) {
	record, err := r.record(ctx)
	if err != nil {
		return nil, err
	}
	latest := map[credential.Name]credential.Entry{}
	if err := record.Recover(ctx, func(e credential.Entry) error {
		latest[e.Name] = e
		return nil
	}); err != nil {
		return nil, err
	}
	entries := make([]credential.Entry, 0, len(latest))
	for _, e := range latest {
		if e.State.Status == credential.StatusRegistered {
			e.State.Name = e.Name
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b credential.Entry) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return entries, nil
}

// one reads a credential that lives.
func (r *reader) one(ctx context.Context, text string) (credential.State, error) {
	state, err := r.known(ctx, text)
	if err == nil && state.Status == credential.StatusRemoved {
		err = fmt.Errorf("%s: %w: it was removed (try: keyturn show %s)", state.Name, credential.ErrUnknown, state.Name)
	}
	return state, err
}

// known reads a credential that has a record.
func (r *reader) known(ctx context.Context, text string) (credential.State, error) {
	name, err := credential.ParseName(text)
	if err != nil {
		return credential.State{}, usage(err)
	}
	record, err := r.record(ctx)
	if err != nil {
		return credential.State{}, err
	}
	state, _, err := record.Load(ctx, name)
	if err != nil {
		return credential.State{}, err
	}
	if state.Status == credential.StatusUnknown {
		return credential.State{}, fmt.Errorf("%s: %w (try: keyturn list)", name, credential.ErrUnknown)
	}
	state.Name = name
	return state, nil
}

// next is what the core would do, seen from here: no daemon's clock but ours.
func (r *reader) next(s credential.State) credential.Step {
	return credential.Next(s, credential.View{Now: wallClock(), Daemon: "reader", Calendar: r.calendar})
}
