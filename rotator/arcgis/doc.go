// Package arcgis is the issuer for API key credentials of ArcGIS portals: ArcGIS
// Online, Location Platform and Enterprise.
//
// The portal is authoritative for whether a slot is active and until when; the
// record is authoritative for what a slot is for. The portal has no
// compare-and-swap, shows a key once, and revokes by slot and not by key, so
// every call here that changes it is made under a claim of the record.
//
// What the portal does that a caller would not expect, and what follows here:
//
//   - Nearly every failure is HTTP 200 with an "error" body: the numeric code
//     decides, never the status nor the messageCode.
//   - The default answer is HTML: every request says f=json.
//   - A missing token answers anonymously: a proof needs appInfo of our item.
//   - Manager tokens are bound to a referer: every request carries the same.
//   - A key lives as long as its slot's date says when it is generated: the
//     date is set first.
//   - Generating is not idempotent: a lost answer is outcome-unknown, and the
//     request is never sent twice.
//   - Revoking always says success: only a read-back of inactive counts.
//   - An edit of privileges or referrers kills both keys: it is never made.
//   - The owner's name stands in the path of an item, not the caller's.
//
// A failure is a credential.Fault; its text never holds a body of the portal.
package arcgis
