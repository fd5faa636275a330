package publisher

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// HasSigner reports whether any signer was announced, believed or not.
func HasSigner(ctx context.Context, js jetstream.JetStream) (bool, error) {
	const op = "look for signers"
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, StreamName)
	if err != nil {
		return false, readFault(op, err)
	}
	_, found, err := firstAfter(ctx, stream, signerSubject, 0)
	if err != nil {
		return false, readFault(op, err)
	}
	return found, nil
}

// PublishRoot announces a signer under its own signature on a record that has
// signers already, whose seeds are lost. Readers that pin it as Config.Root
// believe it, and no longer those before; all others go on as before, and call
// the announcement bad.
func PublishRoot(ctx context.Context, js jetstream.JetStream, signer *Signer, installation string) error {
	op := "announce the new root " + signer.Public()
	if !installationForm.MatchString(installation) {
		return permanent(op, "", fmt.Errorf("%q is not a name of an installation", installation))
	}
	ctx, cancel := context.WithTimeout(ctx, 4*defaultTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, StreamName)
	if err != nil {
		return readFault(op, err)
	}
	signers, last, err := readSigners(ctx, stream, signer.public, func(string, uint64, error) {})
	if err != nil {
		return readFault(op, err)
	}
	if _, ok := signers[signer.public]; ok {
		return nil
	}
	return announce(ctx, js, stream, op, last, signer.public, installation, signer)
}
