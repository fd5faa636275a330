package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/logkey"
)

// checkpointLook is how often a daemon looks whether a checkpoint is due.
const checkpointLook = 30 * time.Second

// keepCheckpoints makes a checkpoint whenever the last one is too old. Of
// several daemons one wins; the others see that it is fresh.
func (d *daemon) keepCheckpoints(ctx context.Context) error {
	return every(ctx, min(checkpointLook, d.settings.Load().Daemon.CheckpointEvery.Value), func() {
		if err := d.keepCheckpoint(ctx); err != nil && ctx.Err() == nil {
			d.logger.Warn("the checkpoint of the record is late; it is tried again", zap.Error(err))
		}
	})
}

// keepCheckpoint makes a checkpoint if one is due, and sees to it that Vault has
// the last one: whoever made it may have ended before it stored it there.
func (d *daemon) keepCheckpoint(ctx context.Context) error {
	last, text, alone, err := d.record.LastCheckpoint(ctx)
	if err != nil {
		return err
	}
	due := text == nil || wallClock().Sub(last.At) >= d.settings.Load().Daemon.CheckpointEvery.Value
	if due && !alone { // with nothing new, the last one still says all
		last, text, err = d.record.AppendCheckpoint(ctx)
		if credential.IsClass(err, credential.ClassConflict) {
			return nil // another daemon has made one
		}
		if err != nil {
			return err
		}
		d.logger.Info("checkpoint of the record", zap.Uint64(logkey.Sequence, last.Last), zap.Int(logkey.Subjects, last.Subjects), zap.String(logkey.Root, last.Root))
	}
	return d.storeCheckpoint(ctx, last, text)
}

// storeCheckpoint puts a checkpoint into Vault, unless that one or a later one
// is there.
func (d *daemon) storeCheckpoint(ctx context.Context, last publisher.Checkpoint, text []byte) error {
	if text == nil {
		return nil
	}
	kept, version, err := d.vault.LastCheckpoint(ctx)
	if err != nil {
		return err
	}
	if there, err := publisher.DecodeCheckpoint(kept); err == nil && !there.At.Before(last.At) {
		return nil
	}
	err = d.vault.StoreCheckpoint(ctx, text, version)
	if credential.IsClass(err, credential.ClassConflict) {
		return nil // another daemon has stored one
	}
	return err
}
