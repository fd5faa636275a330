// Package arcgis is the issuer for API key credentials of ArcGIS portals: ArcGIS
// Online, Location Platform and Enterprise.
//
// The portal is authoritative for whether a slot is active and until when; the
// record is authoritative for what a slot is for. The portal has no
// compare-and-swap, shows a key once, and revokes by slot and not by key, so
// every call here that changes it is made under a claim of the record.
//
// # What is kept
//
// Nothing but memory that can be lost at any time: the manager's token, each
// item's owner, client id and client secret (which can make and kill keys, and
// stands nowhere else), folder ids, and the portal's clock.
//
// # What the portal does that a caller would not expect
//
//   - Nearly every failure is HTTP 200 with an "error" body, in several shapes:
//     the numeric code decides, never the status nor the messageCode.
//   - The default answer is a web page: every request says f=json.
//   - A missing token answers anonymously: a proof needs appInfo of our item.
//   - A hidden item "does not exist": absence needs two witnesses.
//   - Manager tokens are bound to a referer: every request carries the same.
//   - A token dies before its time: it is renewed once per failure, by one login
//     for everybody who waits. A denied login is not repeated for a while.
//   - A key lives as long as its slot's date says when it is generated: the
//     date is set first.
//   - Generating is not idempotent: a lost answer is outcome-unknown, and the
//     request is never sent twice.
//   - Without a slot the same call returns a short-lived token: only what ends
//     like a key of the slot is one.
//   - Revoking always says success: only a read-back of inactive counts.
//   - An edit of privileges or referrers kills both keys: it is never made.
//   - An update replaces all type keywords, those of others, too: they are read
//     and sent with ours. An empty field is cleared only with clearEmptyFields.
//   - Deleting may mean the recycle bin, where keys may live on: it is permanent,
//     after both slots were read back inactive.
//   - The owner's name stands in the path of an item, not the caller's.
//   - Search lags: items are found in the owner's folder, by their marker.
//   - 403 is a denial or a throttle: what the portal denies, it explains.
//
// # Failures
//
// Each is a credential.Fault; its text never holds a body of the portal.
// A call that was not sent, or was definitely refused, changed nothing. One that
// changes something and was sent without a readable answer, or was refused without a
// code, is outcome-unknown.
// Nothing is retried here but a call with a renewed token.
package arcgis
