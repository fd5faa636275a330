package engine

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// stepFunc does the outside effect of a step and returns the command to commit,
// or none where the step has no commit of its own.
type stepFunc func(ctx context.Context, w *work, step credential.Step) (credential.Command, error)

// steps is the program: what a rotation does, in this order. The core says
// which step is next; the order of effects stands here and nowhere else.
func steps() map[credential.StepKind]stepFunc {
	return map[credential.StepKind]stepFunc{
		credential.StepBegin:   begin,   // 1 claim: rotation.started
		credential.StepItem:    item,    // 2 find or make the item: step.claimed
		credential.StepIssue:   issue,   // 3 set the expiry, generate the key
		credential.StepStore:   store,   // 4 write it to Vault as the secondary
		credential.StepVerify:  verify,  // 5 probe it: key.issued
		credential.StepConfirm: nil,     // 6 the core waits: key.acknowledged
		credential.StepPromote: promote, // 7 swap in Vault: key.promoted
		credential.StepDrain:   nil,     // 8 the core waits
		credential.StepRetire:  retire,  // 9 check, claim: key.retiring …
		credential.StepRevoke:  revoke,  //   … fence, revoke, destroy: key.invalidated

		credential.StepResume:  resume,  // after a claim that ended without a result
		credential.StepExpire:  expire,  // an old key that ended by itself
		credential.StepAbandon: abandon, // the settings changed before the promotion
		credential.StepNotice:  notice,  // the primary nears its expiry

		credential.StepAmend:   amend,   // claim the edit of the item in place
		credential.StepEdit:    edit,    //   … title, folder, tags, description, marker: item.edited
		credential.StepDiscard: discard, // look at an item that was left, claim its deletion
		credential.StepDelete:  destroy, //   … delete it for good: item.deleted
		credential.StepRemove:  remove,  // close the record: credential.removed
	}
}

func begin(_ context.Context, _ *work, step credential.Step) (credential.Command, error) {
	return credential.Begin{Reason: step.Reason}, nil
}

func abandon(_ context.Context, _ *work, step credential.Step) (credential.Command, error) {
	return credential.GiveUp{Why: step.Why}, nil
}

func amend(_ context.Context, _ *work, step credential.Step) (credential.Command, error) {
	return credential.ClaimItem{Op: credential.OpEditItem, Item: step.Seat.Item}, nil
}

func notice(_ context.Context, _ *work, step credential.Step) (credential.Command, error) {
	return credential.Tell{Level: step.Level}, nil
}
