package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
)

func privilegesCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "privileges [WORD]", Short: "List the privileges that a declaration may name", Args: cobra.MaximumNArgs(1),
		Long: `List the privileges of ArcGIS that a declaration may name, without connecting; with
WORD those that have it anywhere in their line, such as routing or beta.

A portal may have more: a declaration names them after allow_unlisted_privileges: true.
Those of personal scope, which tie a key to the account of its owner, need personal:
true besides; none of the list is of that kind.

Exit code 3: none has WORD.`,
		Example: "  keyturn privileges\n  keyturn privileges geocod",
		RunE: func(cmd *cobra.Command, args []string) error {
			list := []privilege.Privilege{}
			rows := [][]string{}
			for _, p := range privilege.Catalogue() {
				row := []string{p.Category, p.Label, p.Name, ""}
				if p.Beta {
					row[3] = "beta"
				}
				if len(args) > 0 && !strings.Contains(strings.ToLower(strings.Join(row, "\n")), strings.ToLower(args[0])) {
					continue
				}
				if !p.Beta {
					row[3] = "-"
				}
				list, rows = append(list, p), append(rows, row)
			}
			var err error
			switch {
			case o.output == "json":
				err = printJSON(cmd.OutOrStdout(), list)
			case len(rows) > 0:
				err = printTable(cmd.OutOrStdout(), []string{"CATEGORY", "LABEL", "PRIVILEGE", "STATUS"}, rows)
			}
			if err == nil && len(list) == 0 {
				return &exitError{exitNothing, fmt.Errorf("no privilege of the list has %q (try: keyturn privileges)", args[0])}
			}
			return err
		},
	}
}
