package report

import (
	"fmt"

	"github.com/keyturn/keyturn/rotator/credential"
)

func startedWords(before credential.State, f credential.Started) string {
	where := "a new item"
	if !f.Rotation.NewItem {
		where = fmt.Sprintf("slot %d of item %s", f.Rotation.Target.Slot, f.Rotation.Target.Item)
	}
	text := fmt.Sprintf("rotation %.8s begins: %s; the new key goes to %s", f.Rotation.ID, Why(f.Rotation.Reason, before.Requested), where)
	if primary, ok := before.Primary(); ok {
		text += " and will replace " + fingerprint(primary.Fingerprint)
	}
	if before.Rotation != nil {
		text += fmt.Sprintf("; it takes over what rotation %.8s had not finished", before.Rotation.ID)
	}
	return text
}

// Why says in words why a rotation begins. Asked is the request that was open
// then, nil = none.
func Why(reason credential.Reason, asked *credential.Request) string {
	switch reason {
	case credential.ReasonFirstKey:
		return "there is no key yet"
	case credential.ReasonExpiring:
		return "the lead time before expiry has begun"
	case credential.ReasonSchedule:
		return "the schedule says so"
	case credential.ReasonRequested:
		if asked == nil {
			return "somebody asked for it"
		}
		return fmt.Sprintf("%s asked for it: %s", asked.Actor, orUnsaid(asked.Reason))
	case credential.ReasonSettings:
		return "the declared privileges, items or referrers changed"
	case credential.ReasonRefused:
		return "the issuer no longer accepts the primary key"
	case credential.ReasonLeaked:
		return "the primary key leaked"
	}
	return string(reason)
}

func failedWords(f credential.Failure) string {
	text := fmt.Sprintf("attempt %d to %s failed (%s): %s; to be tried again %s", f.Attempts, stepWords(f.Step), f.Class, f.Message, clock(f.Next))
	if f.Attempts > 1 {
		text += "; failing for " + short(f.Last.Sub(f.Since))
	}
	return text
}

func abandonedWords(before credential.State, f credential.Abandoned) string {
	text := "rotation abandoned: " + f.Why
	if candidate, ok := before.Candidate(); ok {
		text += fmt.Sprintf("; its key %s is never used", fingerprint(candidate.Fingerprint))
	}
	return text
}

func stepWords(step credential.StepKind) string {
	switch step {
	case credential.StepBegin:
		return "begin a rotation"
	case credential.StepItem:
		return "make the item"
	case credential.StepIssue:
		return "generate the key"
	case credential.StepStore:
		return "write the key to Vault"
	case credential.StepVerify:
		return "prove the new key"
	case credential.StepPromote:
		return "promote the new key"
	case credential.StepRetire:
		return "retire the old key"
	case credential.StepRevoke:
		return "revoke the old key"
	case credential.StepResume:
		return "go on after an attempt without a result"
	}
	return "do the step " + string(step)
}

func claimedWords(daemon string, f credential.StepClaimed) string {
	if f.Item != "" {
		return fmt.Sprintf("item %s is made; key number %d follows on it", f.Item, f.Claim.Mint)
	}
	what := "make an item"
	switch f.Claim.Op {
	case credential.OpGenerate:
		what = fmt.Sprintf("generate key number %d on slot %d of item %s", f.Claim.Mint, f.Claim.Seat.Slot, f.Claim.Seat.Item)
	case credential.OpRevoke:
		what = fmt.Sprintf("revoke the key on slot %d of item %s", f.Claim.Seat.Slot, f.Claim.Seat.Item)
	case credential.OpEditItem:
		what = "edit item " + f.Claim.Seat.Item + " in place"
	case credential.OpDeleteItem:
		what = "delete the old item " + f.Claim.Seat.Item
	case credential.OpCreateItem:
	}
	text := daemon + " claims the right to " + what
	if len(f.Claim.Supersedes) > 0 {
		text += ", since an earlier claim ended without a result"
	}
	return text
}
