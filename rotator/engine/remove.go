package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// remove closes the record, when every key and item is gone.
func remove(ctx context.Context, w *work, _ credential.Step) (credential.Command, error) {
	if err := w.erase(ctx); err != nil {
		return nil, err
	}
	return credential.KeysGone{}, nil
}

// erase takes the secret out of Vault, unless an operator wanted it kept. It comes
// before the first key dies, so that nobody is given a dead one, and again at the
// end: a late write may have brought it back.
func (w *work) erase(ctx context.Context) error {
	if w.state.Removing.KeepSecret {
		return nil
	}
	w.vault = nil
	there, err := w.engine.config.Store.Read(ctx, w.name)
	w.noteReachable(err)
	if err != nil || there.Version == 0 {
		return err
	}
	return w.engine.config.Store.Erase(ctx, w.name, there.Version)
}
