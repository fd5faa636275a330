// Package engine carries out rotations: it does what the core decides, at the
// issuer and in Vault, and commits each step by an append to the record.
//
// Who is authoritative. The record says what was done and what comes next; the
// issuer says which keys are alive; Vault says what applications get. The
// engine keeps nothing of a credential beyond a pass, but when it first saw a
// claim, and a new key that waits out its settle time.
//
// A pass loads the record, asks credential.Next, runs that step's function and
// commits the command that it returns, until the core says "wait". The step
// functions stand in one file each, their order in steps.go.
//
// What can be so at any instant, and what follows:
//
//   - The process dies. Before a claim nothing happened. Under a claim to
//     generate, a successor waits until the claim is over, then reads Vault: the
//     very mint that was claimed is proven and used, else the next mint takes the
//     seat. Under a claim to revoke, a successor checks Vault and the primary
//     again, claims, and revokes again, which does no harm.
//   - An answer is lost. At the issuer the claim stays open until it is over; in
//     Vault what is there decides; at the record the publisher finds out.
//   - Another daemon was first. The append conflicts, the record is read and
//     decided again; a result that still fits is kept.
//   - A stalled daemon wakes. Its claim's window is over, so it makes no call at
//     the issuer; its Vault write names an old version, so it conflicts; its
//     append names an old head, so it conflicts.
//   - A key leaked. Its calls are marked as urgent (Urgent), what fails is tried
//     again within a second, and no parked work holds it up. A key that dies
//     immediately needs the issuer only.
//   - Somebody else wrote Vault. It is recorded as drift and left alone until an
//     operator decides.
//   - Somebody changed the issuer. Inspect compares what the three say, by and by; it
//     records each difference once and changes nothing.
//   - A call to make an item was not answered. The rotation finds the item by its
//     marker; if it has ended, Strays finds it, and the next pass deletes it.
//
// A step that fails is an event (rotation.failed) with class, attempt and time
// of the next try; a pass itself fails only when the record cannot be read or
// written.
package engine
