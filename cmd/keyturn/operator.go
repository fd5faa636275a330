package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

func operatorCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "operator", Short: "Make an operator's key, or list who may ask the daemons", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(operatorNewCommand(o), operatorListCommand(o))
	return cmd
}

func operatorNewCommand(o *options) *cobra.Command {
	var role, file string
	var namespaces []string
	cmd := &cobra.Command{
		Use: "new NAME", Short: "Make the key of an operator, without connecting", Args: usageArgs(cobra.ExactArgs(1)),
		Long: `Make the key of an operator or of a service: its seed goes to a file that only you can
read, and what is printed goes into the configuration of every daemon, which takes it
over at SIGHUP. The seed never leaves that file: whoever has it is that operator.

Roles: viewer (dry runs), rotator (and rotate, retry, hold), responder (and release,
invalidate, freeze, thaw), admin (and apply); consumer is a service that acknowledges
the keys it uses, and may do nothing else.

Point the command line at the seed with operator: {seed: {file: FILE}} in its
configuration, or KEYTURN_OPERATOR_SEED_FILE.`,
		Example: "  keyturn operator new oncall --role responder\n  keyturn operator new ci --role admin --namespace 'apps-*' --out /etc/keyturn/ci.nk",
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := newOperator(args[0], role, namespaces, file)
			if err != nil {
				return err
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), made)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "# the seed is in %s; below operators: in the configuration of the daemons\n%s", made.File, made.lines())
			return err
		},
	}
	cmd.Flags().StringVar(&role, "role", string(control.RoleViewer), "viewer, rotator, responder, admin or consumer")
	cmd.Flags().StringArrayVar(&namespaces, "namespace", []string{"*"}, "namespace of the role; a * at its end stands for all that begin so; may be repeated")
	cmd.Flags().StringVar(&file, "out", "", "file of the seed (default NAME.nk)")
	return cmd
}

// madeOperator is what operator new tells.
type madeOperator struct {
	Name       string   `json:"name"`
	Key        string   `json:"key"`
	Role       string   `json:"role"`
	Namespaces []string `json:"namespaces"`
	File       string   `json:"file"`
}

// lines are those of the configuration.
func (m madeOperator) lines() string {
	quoted := make([]string, len(m.Namespaces))
	for i, n := range m.Namespaces {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return fmt.Sprintf("  %s:\n    key: %s\n    roles: [{role: %s, namespaces: [%s]}]\n", m.Name, m.Key, m.Role, strings.Join(quoted, ", "))
}

// newOperator makes a key. What it prints is checked before anything is written.
func newOperator(name, role string, namespaces []string, file string) (madeOperator, error) {
	if file == "" {
		file = name + ".nk"
	}
	seed, public, err := publisher.GenerateSeed()
	if err != nil {
		return madeOperator{}, err
	}
	made := madeOperator{Name: name, Key: public, Role: role, Namespaces: namespaces, File: file}
	if err := config.CheckOperators([]byte("operators:\n" + made.lines())); err != nil {
		return madeOperator{}, usage(err)
	}
	return made, writeNew(file, seed)
}

// writeNew writes a seed to a file that must not be there.
func writeNew(file string, seed credential.Secret) error {
	handle, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already, and may be the only copy of a seed (try: another --out)", file)
	}
	if err != nil {
		return err
	}
	_, err = handle.WriteString(seed.Reveal() + "\n")
	if err = errors.Join(err, handle.Sync(), handle.Close()); err != nil {
		return errors.Join(fmt.Errorf("the seed was not written: %w", err), os.Remove(file))
	}
	return nil
}

func operatorListCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Say who may ask the daemons, by the configuration", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(o.config, &schedule.Calendar{})
			if err != nil {
				return usage(err)
			}
			operators, keys := operatorsOf(c), map[string]string{}
			for key, operator := range operators {
				keys[operator.Name] = key
			}
			list, rows := []listedOperator{}, [][]string{}
			for _, name := range slices.Sorted(maps.Keys(keys)) {
				operator := listedOperator{operators[keys[name]], keys[name]}
				list = append(list, operator)
				for _, g := range operator.Grants {
					rows = append(rows, []string{name, string(g.Role), strings.Join(g.Namespaces, " "), operator.Key})
				}
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printTable(cmd.OutOrStdout(), []string{"OPERATOR", "ROLE", "NAMESPACES", "KEY"}, rows)
		},
	}
}

// listedOperator is a line of operator list.
type listedOperator struct {
	control.Operator
	Key string `json:"key"`
}

// identityOf is who runs this program, by its configuration.
func identityOf(ctx context.Context, c *config.Config, get config.VaultGet) (control.Identity, error) {
	source := c.Operator.Seed
	if !source.Given() {
		return control.Identity{}, errors.New("no operator's key is configured, without which daemons deny every request (try: keyturn operator new NAME, then operator: {seed: {file: NAME.nk}} in the configuration, or KEYTURN_OPERATOR_SEED_FILE)")
	}
	if why := config.Exposed(source.File); why != "" {
		return control.Identity{}, fmt.Errorf("operator.seed: %s", why)
	}
	seed, err := source.Read(ctx, get)
	if err != nil {
		return control.Identity{}, fmt.Errorf("operator.seed: %w", err)
	}
	identity, err := control.NewIdentity(c.Installation, seed)
	if err != nil {
		return control.Identity{}, fmt.Errorf("operator.seed, from %s: %w", source, err)
	}
	return identity, nil
}

// operatorsOf are those who may ask, by their keys.
func operatorsOf(c *config.Config) control.Operators {
	operators := control.Operators{}
	for _, o := range c.Operators {
		grants := make([]control.Grant, 0, len(o.Roles))
		for _, g := range o.Roles {
			grants = append(grants, control.Grant{Role: control.Role(g.Role), Namespaces: g.Namespaces})
		}
		operators[o.Key] = control.Operator{Name: o.Name, Grants: grants}
	}
	return operators
}
