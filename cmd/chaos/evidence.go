package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
)

// message is a stored message of the stream.
type message struct {
	Subject  string
	Sequence uint64
	Header   nats.Header
	Data     []byte
	Time     time.Time // when the stream stored it
}

// shown is what Vault shows of a credential.
type shown struct {
	Primary, Secondary credential.Fingerprint
}

// evidence is everything that the checks look at.
type evidence struct {
	Names     []credential.Name
	Messages  []message
	Sightings []sighting
	Portal    portalState
	Vault     map[credential.Name]shown
	Usage     usage
	Drain     time.Duration
	Now       time.Time
}

// inspect gathers the evidence, checks it, and keeps what explains a failure.
func (w *world) inspect(ctx context.Context, r *result) error {
	w.apps.stop()
	r.stall, r.stalled = w.stalls.worst()
	for _, d := range w.daemons {
		if err := d.stop("term"); err != nil {
			r.violate(badQuiet, "", "%v after SIGTERM", err)
		}
		r.deaths = append(r.deaths, d.unasked()...)
	}
	e := evidence{Names: w.names, Usage: w.apps.seen(), Drain: w.drain(), Vault: map[credential.Name]shown{}}
	var err error
	if e.Messages, err = w.readReplicas(ctx, r); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	w.witness.close()
	e.Sightings = w.witness.seen
	for _, bad := range w.witness.bad {
		r.violate(badOrder, "", "unreadable for a service: %s", bad)
	}
	if e.Portal, err = w.portal.state(ctx); err != nil {
		return fmt.Errorf("read the portal: %w", err)
	}
	for _, name := range w.names {
		if e.Vault[name], err = w.vault.shown(ctx, name); err != nil {
			return fmt.Errorf("read Vault: %w", err)
		}
	}
	e.Now = time.Now()
	w.say("checking %d events, %d sightings, %d changes at the portal", len(e.Messages), len(e.Sightings), len(e.Portal.Events))
	check(e, r)
	if err := w.searchLogs(r); err != nil {
		return err
	}
	return w.keep(e, r)
}

// shown reads the keys of a credential's secret.
func (v *vaultServer) shown(ctx context.Context, name credential.Name) (shown, error) {
	var secret struct {
		Data map[string]string `json:"data"`
	}
	err := v.call(ctx, http.MethodGet, "secret/data/keyturn/"+string(name), nil, &secret)
	print := func(field string) credential.Fingerprint {
		if secret.Data[field] == "" {
			return ""
		}
		return credential.NewSecret(secret.Data[field]).Fingerprint()
	}
	return shown{print("api_key"), print("secondary_api_key")}, err
}

// keep writes down the records of the credentials that failed a check.
func (w *world) keep(e evidence, r *result) error {
	kept := map[credential.Name]bool{}
	for _, v := range r.violations {
		if v.name == "" || kept[v.name] || len(kept) == 20 {
			continue
		}
		kept[v.name] = true
		var text strings.Builder
		for _, m := range e.Messages {
			if m.Subject == publisher.RecordSubject(v.name) {
				fmt.Fprintf(&text, "%s %d %s %s\n", m.Time.Local().Format(clockLayout), m.Sequence, attribute(m.Header, "ce-type"), m.Data)
			}
		}
		for _, item := range e.Portal.Items {
			if item.Title != string(v.name) {
				continue
			}
			state, err := json.Marshal(item)
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, "portal: %s\n", state)
			for _, event := range e.Portal.Events {
				if event.ItemID == item.ID {
					fmt.Fprintf(&text, "%s portal %s slot %d %s %s\n", event.Time.Local().Format(clockLayout), event.Kind, event.Slot, event.Actor, event.Detail)
				}
			}
		}
		path := filepath.Join(w.dir, "failed-"+strings.ReplaceAll(string(v.name), "/", "-")+".txt")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			return err
		}
	}
	return nil
}
