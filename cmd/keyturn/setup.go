package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/vault"
)

func setupCommand(o *options) *cobra.Command {
	var s setting
	cmd := &cobra.Command{
		Use: "setup", Short: "Make the streams and the signing key, once", Args: cobra.NoArgs,
		Long: `Make what an installation needs: the JetStream streams of the record, of denied
requests and of what became of requests that changed nothing, and the key that signs
events (in Vault). It changes nothing that is there already.

It prints the public key: give it to your auditors, and set nats.signer_root to it.

--new-signer replaces the signing key: the one before vouches for the new one, the
daemons take it up within a minute, and old events stay verifiable. Run it again if
it was interrupted: it goes on where it stopped. It needs deploy/vault/new-signer.hcl.

If the signing key was lost with Vault and no backup has it, --new-root makes another
one that nobody vouches for: it counts only where nats.signer_root names it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := o.load()
			if err != nil {
				return err
			}
			if s.newRoot && s.newSigner {
				return usage(errors.New("--new-root and --new-signer: want one, --new-signer while the key before is there"))
			}
			return s.run(cmd.Context(), c, cmd.OutOrStdout(), o.output)
		},
	}
	cmd.Flags().BoolVar(&s.newSigner, "new-signer", false, "replace the signing key; the one before vouches for the new one")
	cmd.Flags().BoolVar(&s.newRoot, "new-root", false, "begin a new chain of signers, because the key before is lost")
	return cmd
}

// setting is what setup is asked for.
type setting struct{ newRoot, newSigner bool }

// run is the command, for dev as well.
func (s setting) run(ctx context.Context, c *config.Config, out io.Writer, output string) error {
	store, conn, stop, err := openBoth(ctx, c)
	if err != nil {
		return err
	}
	defer stop()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if err := publisher.Setup(ctx, js, c.NATS.Replicas); err != nil {
		return err
	}
	if err := publisher.SetupDenied(ctx, js, c.NATS.Replicas); err != nil {
		return err
	}
	if err := publisher.SetupRequests(ctx, js, c.NATS.Replicas); err != nil {
		return err
	}
	seed, err := store.SigningSeed(ctx)
	if credential.IsClass(err, credential.ClassNotFound) {
		seed, err = makeSeed(ctx, js, store, s.newRoot)
	}
	if err != nil {
		return err
	}
	signer, err := publisher.NewSigner(seed)
	if err != nil {
		return errors.Join(errors.New("the signing key in Vault is damaged"), err)
	}
	if s.newRoot || c.NATS.SignerRoot == signer.Public() {
		err = publisher.PublishRoot(ctx, js, signer, c.Installation)
	} else {
		err = publisher.PublishSigner(ctx, js, signer, c.Installation, nil)
	}
	if err == nil && s.newSigner {
		signer, err = replaceSigner(ctx, js, store, c)
	}
	if err != nil {
		return err
	}
	if output == "json" {
		return printJSON(out, map[string]string{"stream": publisher.StreamName, "signer": signer.Public()})
	}
	if s.newSigner {
		_, err = fmt.Fprintf(out, "signer %s signs from now on, vouched for by the one before; nats.signer_root stays as it is\n", signer.Public())
		return err
	}
	_, err = fmt.Fprintf(out, "stream %s is in place\nsigner %s (give it to your auditors; nats.signer_root pins it)\n", publisher.StreamName, signer.Public())
	return err
}

// makeSeed stores a signing key, unless the record has had another one: that
// one is lost, and a person decides what to do about it.
func makeSeed(ctx context.Context, js jetstream.JetStream, store *vault.Client, newRoot bool) (credential.Secret, error) {
	announced, err := publisher.HasSigner(ctx, js)
	if err != nil {
		return credential.Secret{}, err
	}
	if announced && !newRoot {
		return credential.Secret{}, errors.New("the signing key is gone from Vault, and the record was signed with it (try: restore it from a backup, or keyturn setup --new-root)")
	}
	seed, _, err := publisher.GenerateSeed()
	if err != nil {
		return credential.Secret{}, err
	}
	err = store.StoreSigningSeed(ctx, seed)
	if credential.IsClass(err, credential.ClassConflict) { // another setup won
		return store.SigningSeed(ctx)
	}
	return seed, err
}
