package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
	"github.com/keyturn/keyturn/vault"
)

// replaceSigner makes a new signing key, in three steps that each can be the
// last one: the next run goes on from there.
//
//  1. Vault keeps the seed as the next one. Nobody signs with it.
//  2. The record vouches for it, under the signature of the one before. Daemons
//     that see both sign with it from now on.
//  3. Vault makes it the current one.
//
// Announced first, a crash would leave a signer announced whose seed nobody has,
// and the one before replaced for good; made the current one first, daemons
// would sign with a key that nobody vouches for.
func replaceSigner(ctx context.Context, js jetstream.JetStream, store *vault.Client, c *config.Config) (*publisher.Signer, error) {
	for {
		keys, err := store.SigningKeys(ctx)
		if err != nil {
			return nil, err
		}
		current, err := publisher.NewSigner(keys.Current)
		if err != nil {
			return nil, errors.Join(errors.New("the signing key in Vault is damaged"), err)
		}
		if keys.Next.Empty() {
			if keys.Next, _, err = publisher.GenerateSeed(); err != nil {
				return nil, err
			}
			err := store.ReplaceSigningKeys(ctx, keys)
			if err != nil && !credential.IsClass(err, credential.ClassConflict) {
				return nil, err
			}
			continue // as read again: of several setups one has won, and all go on with its seed
		}
		next, err := publisher.NewSigner(keys.Next)
		if err != nil {
			return nil, errors.Join(errors.New("the next signing key in Vault is damaged"), err)
		}
		if err := publisher.PublishSigner(ctx, js, next, c.Installation, current); err != nil {
			return nil, err
		}
		err = store.ReplaceSigningKeys(ctx, vault.SigningKeys{Current: keys.Next, Version: keys.Version})
		if credential.IsClass(err, credential.ClassConflict) {
			err = nil // another setup did this step with the same seed, for there is one next at a time
		}
		return next, err
	}
}

// signerEvery is how often a new signing key is looked for.
const signerEvery = 30 * time.Second

// watchSigner takes up a new signing key, now and then and when asked to.
func (d *daemon) watchSigner(ctx context.Context) error {
	ticker := time.NewTicker(signerEvery)
	defer ticker.Stop()
	for {
		if err := d.takeSigner(ctx); err != nil && ctx.Err() == nil {
			d.logger.Warn("whether there is a new signing key cannot be found out; the one in use stays", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-d.rekey:
		}
	}
}

// takeSigner signs with the newest key in Vault that the record vouches for.
func (d *daemon) takeSigner(ctx context.Context) error {
	keys, err := d.vault.SigningKeys(ctx)
	if err != nil {
		return err
	}
	use := func(seed credential.Secret) error {
		signer, err := publisher.NewSigner(seed)
		if err != nil || signer.Public() == d.record.Signer().Public() {
			return err
		}
		if err := d.record.SignWith(ctx, signer); err != nil {
			return err
		}
		d.logger.Info("the signing key was replaced; this daemon signs with the new one", zap.String(logkey.Signer, signer.Public()))
		return nil
	}
	if !keys.Next.Empty() {
		if err := use(keys.Next); !credential.IsClass(err, credential.ClassPermanent) {
			return err
		} // it is not announced yet
	}
	return use(keys.Current)
}
