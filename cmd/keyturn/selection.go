package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
	"github.com/keyturn/keyturn/rotator/credential"
)

// selection says which credentials a command is about, instead of a name. What
// is given is combined: all of it must hold.
type selection struct {
	issuer, namespace string
	labels            []string
	within            span
	from              string
}

func (s *selection) flags(cmd *cobra.Command) {
	s.filters(cmd)
	cmd.Flags().Var(&s.within, "expiring-within", "those whose primary key expires within this time, such as 72h or 3d")
	cmd.Flags().StringVar(&s.from, "from", "", "file of names or fingerprints, one a line, # for comments; - for standard input")
}

// filters are the flags that list has, too.
func (s *selection) filters(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.issuer, "issuer", "", "those of this issuer")
	cmd.Flags().StringVar(&s.namespace, "namespace", "", "those of this namespace")
	cmd.Flags().StringArrayVar(&s.labels, "label", nil, "those with this label, KEY=VALUE; may be repeated")
}

func (s *selection) given() bool {
	return s.issuer != "" || s.namespace != "" || len(s.labels) > 0 || s.within != 0 || s.from != ""
}

// check refuses what can be seen to be wrong before anything is asked.
func (s *selection) check() error {
	for _, label := range s.labels {
		if key, _, ok := strings.Cut(label, "="); !ok || key == "" {
			return usage(fmt.Errorf("--label %s: want KEY=VALUE", label))
		}
	}
	return nil
}

// one is the name that stands alone, or empty where the flags select; both and
// neither is a mistake.
func (s *selection) one(args []string) (credential.Name, error) {
	switch {
	case len(args) == 1 && s.given():
		return "", usage(errors.New("want a name, or flags that select several, not both"))
	case len(args) == 0 && !s.given():
		return "", usage(errors.New("which credential? Give its name, or select several with --issuer, --namespace, --label, --expiring-within or --from"))
	case len(args) == 0:
		return "", s.check()
	}
	name, err := credential.ParseName(args[0])
	if err != nil {
		return "", usage(err)
	}
	return name, nil
}

// holds reports whether all flags but --from hold for a credential.
func (s *selection) holds(state credential.State, now time.Time) bool {
	if (s.issuer != "" && state.Spec.Issuer != s.issuer) || (s.namespace != "" && state.Name.Namespace() != s.namespace) {
		return false
	}
	for _, label := range s.labels {
		key, value, _ := strings.Cut(label, "=")
		if have, ok := state.Spec.Labels[key]; !ok || have != value {
			return false
		}
	}
	if s.within != 0 {
		primary, ok := state.Primary()
		return ok && !primary.Expires.IsZero() && primary.Expires.Before(now.Add(time.Duration(s.within)))
	}
	return true
}

// target is one credential of a command on several, and where it is about a
// single key, which.
type target struct {
	name  credential.Name
	key   credential.Fingerprint // empty = what the command says
	state credential.State
}

// picked is what a selection came to.
type picked struct {
	targets []target
	unknown []item // of the list: no living credential or key
	leftOut int    // of the list: there, but not by the other flags
}

// pick chooses among the living, in the order of the list or by name.
func (s *selection) pick(entries []credential.Entry, list []item, now time.Time) picked {
	var p picked
	if s.from == "" {
		for _, e := range entries {
			if s.holds(e.State, now) {
				p.targets = append(p.targets, target{name: e.Name, state: e.State})
			}
		}
		return p
	}
	names, keys := map[credential.Name]credential.State{}, map[credential.Fingerprint]credential.State{}
	for _, e := range entries {
		names[e.Name] = e.State
		for _, seat := range e.State.Seats {
			for _, key := range fingerprintsOf(seat) {
				keys[key] = e.State
			}
		}
	}
	for _, i := range list {
		state, ok := names[i.name]
		if i.key != "" {
			state, ok = keys[i.key]
		}
		switch {
		case !ok:
			p.unknown = append(p.unknown, i)
		case !s.holds(state, now):
			p.leftOut++
		default:
			p.targets = append(p.targets, target{name: state.Name, key: i.key, state: state})
		}
	}
	return p
}

// item is one line of a list: a name or a fingerprint.
type item struct {
	name credential.Name
	key  credential.Fingerprint
}

func (i item) String() string { return string(i.name) + string(i.key) }

const fingerprintLength = 16

var fingerprintForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// list reads --from. No line is repeated in an error: somebody may have put keys
// there.
func (s *selection) list(in io.Reader) ([]item, error) {
	if s.from == "" {
		return nil, nil
	}
	name := s.from
	if name == "-" {
		name = "standard input"
	} else {
		file, err := os.Open(s.from)
		if err != nil {
			return nil, usage(err)
		}
		defer file.Close() //nolint:errcheck // it was only read
		in = file
	}
	var items []item
	var wrong []error
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "\ufeff"), "#")
		text = strings.TrimSpace(text)
		parsed, err := credential.ParseName(text)
		switch {
		case text == "":
		case err == nil:
			items = append(items, item{name: parsed})
		case fingerprintForm.MatchString(text):
			items = append(items, item{key: credential.Fingerprint(text)})
		default:
			wrong = append(wrong, fmt.Errorf("%s:%d: neither a name (namespace/name) nor a fingerprint (16 of 0-9 and a-f); for a key itself: keyturn identify", name, n))
		}
	}
	if err := lines.Err(); err != nil {
		wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
	}
	if len(wrong) == 0 && len(items) == 0 {
		wrong = append(wrong, fmt.Errorf("%s: there is no name or fingerprint in it", name))
	}
	if len(wrong) > 0 {
		return nil, usage(fmt.Errorf("nothing was sent:\n%w", errors.Join(wrong...)))
	}
	slices.SortStableFunc(items, func(a, b item) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(items), nil
}

// span is a duration on the command line, with d and w as in the configuration.
type span time.Duration

// String implements pflag.Value, as do the two that follow.
func (s *span) String() string { return credential.Short(time.Duration(*s)) }

// Set reads one.
func (s *span) Set(text string) error {
	d, err := strict.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("want more than nothing")
	}
	*s = span(d)
	return err
}

// Type names the kind in the help.
func (s *span) Type() string { return "duration" }
