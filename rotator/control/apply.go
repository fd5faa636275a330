package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

func (s *Service) apply(ctx context.Context, by caller, request Apply) (any, error) {
	spec, err := s.config.Check(request.Spec)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errBad, err) //nolint:errorlint // only its words matter
	}
	before, err := s.config.Commander.Look(ctx, request.Name)
	if err != nil {
		return nil, err
	}
	answer := Answer{Name: request.Name, Result: ResultUpdated, Revision: before.Revision, Changes: changes(before.Spec, spec)}
	if before.Status != credential.StatusRegistered {
		answer.Result, answer.Changes = ResultRegistered, nil
	}
	if before.Status == credential.StatusRegistered && before.Spec.Issuer != spec.Issuer {
		return nil, fmt.Errorf("%w: a credential stays with its issuer (%s); declare another name for %s", errBad, before.Spec.Issuer, spec.Issuer)
	}
	if answer.Result == ResultRegistered || before.Spec.Item.SettingsHash() != spec.Item.SettingsHash() {
		if err := s.view(ctx, spec); err != nil {
			return nil, err
		}
	}
	if answer.Result == ResultUpdated {
		answer.Detail = consequences(before, spec)
	}
	if request.DryRun {
		if r := before.Removing; r != nil {
			return nil, fmt.Errorf("%w: it is being removed since %s (try: again when it is gone)", credential.ErrStale, r.Since.UTC().Format(time.RFC3339))
		}
		if before.Spec.Equal(spec) && answer.Result == ResultUpdated {
			answer.Result, answer.Detail = ResultUnchanged, ""
		}
		return answer, nil
	}
	register := credential.Register{Spec: spec, Actor: by.operator}
	if answer.Result == ResultRegistered {
		if register.Frozen, err = s.frozen(ctx); err != nil {
			return nil, err
		}
	}
	done, _, err := s.command(ctx, by, request.Name, answer.Result, register)
	if err == nil && done.Result == ResultRegistered && register.Frozen == nil {
		err = s.freezeLate(ctx, request.Name)
	}
	if done.Result == ResultUnchanged {
		answer.Detail = ""
	}
	answer.Result, answer.Request, answer.Revision = done.Result, done.Request, done.Revision
	return answer, err
}

// consequences says what a changed declaration leads to at the issuer; empty =
// nothing.
func consequences(before credential.State, spec credential.Spec) string {
	var parts []string
	if before.Spec.Item.SettingsHash() != spec.Item.SettingsHash() {
		parts = append(parts, "privileges, items or referrers change, which in place would kill the keys of the item; "+Succession(before, spec.Policy))
	}
	if _, ok := before.Primary(); ok && before.Spec.Item.DescriptionHash() != spec.Item.DescriptionHash() {
		parts = append(parts, "title, folder, tags and description are edited in place, which touches no key")
	}
	return strings.Join(parts, "; ")
}

// Succession says what a change of privileges, items or referrers leads to.
func Succession(s credential.State, policy credential.Policy) string {
	primary, ok := s.Primary()
	if !ok {
		return "the first key is made on an item that has them"
	}
	return fmt.Sprintf("a new item is made (succession): its key goes to the same path in Vault with no downtime, the old key works %s longer, then the old item %s is deleted for good",
		credential.Short(policy.Drain.Std()), primary.Item)
}

// view refuses a spec with items that the issuer does not show. It is asked only
// when a new item is to be given access to them, and then about all: the issuer may
// refuse the whole list for one that has gone. Whatever else changes is not held up
// by an item that somebody deleted long ago.
func (s *Service) view(ctx context.Context, spec credential.Spec) error {
	viewer := s.config.Viewers[spec.Issuer]
	if viewer == nil || len(spec.Item.Items) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ViewTimeout)
	defer cancel()
	missing, err := viewer.Visible(ctx, spec.Item.Items)
	if err != nil {
		return fmt.Errorf("issuer %s does not say whether the items are there, so nothing was changed: %w (apply the same again once it does)", spec.Issuer, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: items: %s: not there, or hidden from the manager of issuer %s (try: check the ids, share the items with the manager, or leave them out)",
			errBad, strings.Join(missing, ", "), spec.Issuer)
	}
	return nil
}

// frozen is the freeze that stands; nil = none.
func (s *Service) frozen(ctx context.Context) (*credential.Hold, error) {
	frozen, err := s.config.Freezer.Frozen(ctx)
	if err != nil || !(credential.State{Frozen: frozen}).Held(s.config.Now()) {
		return nil, err
	}
	return frozen, nil
}

// freezeLate freezes a credential that was registered while a freeze began: whoever
// asked for it may have listed the credentials before.
func (s *Service) freezeLate(ctx context.Context, name credential.Name) error {
	frozen, err := s.frozen(ctx)
	if err != nil || frozen == nil {
		return err
	}
	_, err = s.config.Commander.Command(ctx, name, credential.PutHold{Actor: frozen.Actor, Reason: frozen.Reason, Until: frozen.Until, Freeze: true})
	if errors.Is(err, credential.ErrNothing) { // it began frozen, and this is a repeat
		return nil
	}
	return err
}

// changes names the fields of two specs that differ.
func changes(before, after credential.Spec) []string {
	a, b := flatten(before), flatten(after)
	var names []string
	for name, value := range b {
		if a[name] != value {
			names = append(names, fmt.Sprintf("%s: %s → %s", name, orNone(a[name]), orNone(value)))
		}
	}
	for name, value := range a {
		if _, still := b[name]; !still {
			names = append(names, fmt.Sprintf("%s: %s → none", name, orNone(value)))
		}
	}
	slices.Sort(names)
	return names
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// flatten writes a spec as field → JSON.
func flatten(spec credential.Spec) map[string]string {
	flat := map[string]string{}
	var walk func(prefix string, value any)
	walk = func(prefix string, value any) {
		if object, ok := value.(map[string]any); ok {
			for key, inner := range object {
				walk(strings.TrimPrefix(prefix+"."+key, "."), inner)
			}
			return
		}
		text, err := json.Marshal(value)
		if err == nil {
			flat[prefix] = string(text)
		}
	}
	var tree map[string]any
	if text, err := json.Marshal(spec); err == nil && json.Unmarshal(text, &tree) == nil {
		walk("", tree)
	}
	delete(flat, "policy.drain_set")
	delete(flat, "policy.settle_set")
	return flat
}
