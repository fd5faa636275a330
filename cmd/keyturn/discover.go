package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/credential"
)

// discovered is an element of `discover -o json`.
type discovered struct {
	Item  string              `json:"item"`
	Owner string              `json:"owner"`
	Spec  credential.ItemSpec `json:"spec"`
	// Slots are slot 1 and slot 2.
	Slots [2]discoveredSlot `json:"slots"`
	// ManagedBy is the credential whose record names the item; empty = none.
	ManagedBy credential.Name `json:"managed_by,omitempty"`
	// Installation and Marked are the words of the marker on it; empty = none.
	Installation string `json:"marked_by_installation,omitempty"`
	Marked       string `json:"marked_for,omitempty"`
}

type discoveredSlot struct {
	Active  bool      `json:"active"`
	Expires time.Time `json:"expires,omitzero"`
}

func discoverCommand(o *options) *cobra.Command {
	var issuer, output string
	cmd := &cobra.Command{
		Use: "discover --issuer ISSUER", Short: "List the API key credentials of an issuer, managed or not", Args: cobra.NoArgs,
		Long: `List the API key credentials of an issuer that the login in this configuration can
see: its own at once, those of others as soon as the portal's search has them.

Managed: a record of this installation names the item. Otherwise a marker on it may
say which installation, or which life of a credential that has no record, it is of.

With -o yaml those that nobody manages are written as declarations, each with the
command that takes it over as it is. Applied without that, a declaration makes a new
item beside the old one.`,
		Example: "  keyturn discover --issuer online\n  keyturn discover --issuer online -o yaml > found.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" && output != "yaml" {
				return usage(fmt.Errorf("--output %s: want table, json or yaml", output))
			}
			if issuer == "" {
				return usage(fmt.Errorf("no issuer (want: --issuer ISSUER)"))
			}
			return discover(cmd.Context(), o, issuer, output, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&issuer, "issuer", "", "the issuer to look at")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml") // in place of everybody's
	return cmd
}

func discover(ctx context.Context, o *options, issuer, output string, out io.Writer) error {
	reader, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer reader.close()
	portal, err := reader.issuer(issuer)
	if err != nil {
		return err
	}
	defer portal.Close()
	entries, err := reader.all(ctx)
	if err != nil {
		return err
	}
	found, err := portal.Discover(ctx)
	if err != nil {
		return err
	}
	managed := map[string]credential.Name{} // item → its credential
	names := map[credential.Name]bool{}
	for _, e := range entries {
		names[e.Name] = true
		for _, item := range itemsOf(e.State) {
			managed[item] = e.Name
		}
	}
	list := make([]discovered, 0, len(found))
	for _, f := range found {
		d := discovered{Item: f.Item, Owner: f.Owner, Spec: f.Spec, ManagedBy: managed[f.Item], Installation: f.Installation, Marked: f.Marked}
		for i, s := range f.Slots {
			d.Slots[i] = discoveredSlot{s.Active, s.Expires}
		}
		list = append(list, d)
	}
	switch now := wallClock(); output {
	case "json":
		return printJSON(out, list)
	case "yaml":
		d := declaring{issuer: issuer, config: reader.config, calendar: reader.calendar, now: now, taken: names}
		return d.print(out, list)
	default:
		rows := make([][]string, 0, len(list))
		for _, d := range list {
			rows = append(rows, []string{
				oneLine(d.Item), oneLine(d.Spec.Title), oneLine(d.Owner), d.Slots[0].word(now), d.Slots[1].word(now), oneLine(d.manager(reader.config.Installation)),
			})
		}
		return printTable(out, []string{"ITEM", "TITLE", "OWNER", "SLOT 1", "SLOT 2", "MANAGED BY"}, rows)
	}
}

// word is the state of a slot in words. The date of an inactive one says nothing.
func (s discoveredSlot) word(now time.Time) string {
	switch {
	case !s.Active:
		return "inactive"
	case s.Expires.IsZero():
		return "active, without a date"
	case !s.Expires.After(now):
		return "expired " + until(s.Expires, now)
	}
	return "expires " + until(s.Expires, now)
}

// manager says who manages an item, as far as record and marker tell.
func (d discovered) manager(installation string) string {
	switch {
	case d.ManagedBy != "":
		return string(d.ManagedBy)
	case d.Installation == "":
		return "-"
	case d.Installation == installation:
		return fmt.Sprintf("nobody (made for %s, whose record does not name it)", d.Marked)
	}
	return fmt.Sprintf("installation %s (%s)", d.Installation, d.Marked)
}

// itemsOf are the items that a record names: where its keys live, and where one is
// going to.
func itemsOf(s credential.State) []string {
	items := map[string]bool{}
	for _, seat := range s.Seats {
		items[seat.Item] = true
	}
	if s.Rotation != nil {
		items[s.Rotation.Target.Item] = true
	}
	items[s.Killed.Item] = true
	delete(items, "") // one that is still to be made
	return slices.Sorted(maps.Keys(items))
}

// issuer opens a configured issuer with the rights of whoever runs this; it is the
// caller's to close.
func (r *reader) issuer(name string) (*lane, error) {
	c, ok := r.config.Issuers[name]
	if !ok {
		return nil, usage(fmt.Errorf("no issuer %q is configured (there are: %s)", name, strings.Join(slices.Sorted(maps.Keys(r.config.Issuers)), ", ")))
	}
	return openIssuer(name, c, r.get, nil, zap.NewNop())
}

// oneLine is a text that anybody may have written, for a cell of a table or a comment.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsGraphic(c) }), " ")
}
