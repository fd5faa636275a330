package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/report"
)

// past is how the last life of a name ended.
type past struct {
	Name    credential.Name `json:"name"`
	Status  string          `json:"status"`
	At      time.Time       `json:"removed_at"`
	Actor   string          `json:"removed_by"`
	Reason  string          `json:"reason"`
	Secret  string          `json:"secret_kept,omitempty"` // its path
	Items   []string        `json:"items_kept,omitempty"`
	History int             `json:"events"`
}

// past reads the end of a credential's last life, which has ended.
func (r *reader) past(ctx context.Context, name credential.Name) (past, error) {
	p := past{Name: name, Status: string(credential.StatusRemoved)}
	record, err := r.record(ctx)
	if err != nil {
		return p, err
	}
	err = record.History(ctx, name, func(e credential.Entry) error {
		p.History++
		switch f := e.Event.Fact.(type) {
		case credential.Removing:
			p.Actor, p.Reason, p.Secret = f.Removal.Actor, f.Removal.Reason, ""
			if f.Removal.KeepSecret {
				p.Secret = secretPath(r.config.Vault, name)
			}
		case credential.Removed:
			p.At = e.Event.At
		}
		p.Items = e.State.Kept
		return nil
	})
	return p, err
}

func (p past) String() string {
	text := fmt.Sprintf("%s was removed at %s, by %s: %s", p.Name, clock(p.At), p.Actor, report.OneLine(p.Reason))
	if p.Secret != "" {
		text += "\nthe secret " + p.Secret + " was kept, with a dead key"
	}
	if len(p.Items) > 0 {
		text += "\nkept at the issuer: item " + strings.Join(p.Items, ", ")
	}
	return text + "\nits history: keyturn history " + string(p.Name) + "; apply or adopt begin a new life under the name"
}
