// Package emulator is a local stand-in for the part of an ArcGIS portal that deals with API key credentials:
// users' items and folders, registered apps, and the two key slots of each. keyturn's development mode and
// its tests run against it. It says on every answer that it is not ArcGIS, its keys open nothing but its own
// small resource, and it shares no code or type with the client that it tests: both are written from the
// same description of the real portal, so that a misreading in one shows against the other.
//
// # What it emulates
//
// The table in routes.go is all of it: sign-in (generateToken, oauth2/token), items and folders with moving,
// updating, protecting, deleting, recycling and restoring, search, app registration, key generation and
// revocation by slot, portals/self and community/self as keys and managers see them, the expiry scan
// (portals/self/apiTokens), and usage. Users are given in Config; there are no groups, no sharing, no files,
// no sign-in with a browser (authorization codes and refresh tokens are refused) and no legacy API keys.
//
// # What is known
//
// From published documents and the sources of published clients; each has a test in checklist_test.go:
//
//   - Failures are HTTP 200 with an error body; the default format is a web page; reads take GET and POST;
//     tokens come as a parameter or in either bearer header; 499 without a token, 498 with a bad one.
//   - A manager token that was made for a referer works with that Referer only, and ends before its time
//     when sessions are revoked (Portal.RevokeSessions).
//   - Items take lists as CSV, apps as JSON arrays. Ids have 32 hex characters, client ids 16 alphanumeric ones.
//   - A key is made by client id and secret alone, is shown once, lives until the date that its slot's item
//     field had at that moment, ends in AT1_ or AT2_ and the tail of the client id, and has no fixed length.
//   - A new key kills the old one of the same slot at once, and no other.
//   - oauth2/apps/{id}/update replaces whole lists and kills both keys.
//   - A revoke is by slot, says success whatever was there, and leaves the item's date.
//   - Search is not to be trusted with dates. portals/self answers without a token, too, saying less.
//
// # Editions
//
// Config.Edition chooses. ArcGIS Online and Location Platform lie at /sharing/rest, have a recycle bin and an
// organisation's host, and let an API key or app token with the privileges create items. Enterprise lies below
// a web adaptor (Config.WebAdaptor), counts its versions in another way, says isPortal, deletes for good, and
// lets no API key or app token create items; it often stands behind a private CA (Authority), and what it has
// besides depends on its version: KeyCredentials, NoLocationServices, NoAPITokens, NoUsage.
//
// # What is not known
//
// Where documents are silent or contradict each other, a Knob decides, and its default is what seems most
// likely. A client should pass with every position of every knob. Each is described at its field:
//
//  1. regenerateApiToken=false on an active slot: RegenerateFalse
//  2. dates that are missing, over, too soon or too late: ExpirationMissing, ExpirationPast,
//     ExpirationTooShort, ExpirationTooLong, DatesBeforeRegistration
//  3. how dates are rounded: Rounding
//  4. whether an edited date moves a live key: EditMovesLiveKey
//  5. which update of an app kills its keys: AppUpdate
//  6. a revoke of an empty slot, of none, or with a wrong secret: RevokeEmptySlot, RevokeNoSlot, RevokeWrongSecret
//  7. what expiry and revoke show: ExpiryClearsActive, RevokeResetsExpiration
//  8. how referrers are compared, and how many there may be: ReferrerMatch, MaxReferrers
//  9. how long changes are on their way: NewKeyDelay, RevokedKeyDelay, ActiveLag
//  10. limits and how they are told: ThrottleRequests, ThrottleWindow, ThrottleStatus, ThrottleRetryAfter
//  11. which tokens manage: KeyManages, AppTokenManages (a user's own always does)
//  12. keys of an item in the recycle bin: RecycledKeys
//  13. what usage calls a key, and whether there is any: UsageAppID, UsageLag, NoUsage
//  14. what an Enterprise portal has: KeyCredentials, NoLocationServices, NoAPITokens, Config.Org.CurrentVersion
//  15. who sets isPersonalAPIToken: PersonalFlag
//  16. how privileges and items that cannot be are refused: UnknownPrivileges, RefusedPrivileges, Config.Held
//  17. Authorization: Bearer on every endpoint: NoBearer
//  18. whether a client secret can change: no endpoint does that; ChangeSecretByHand
//
// Not asked there, but not settled either: ActiveFields, SearchLag, SearchExpirations, ListMinusOne, TokenMinutes.
//
// Assumed without a knob: created and modified are whole seconds; an item in the recycle bin cannot be read
// and its client id is unknown; a restored item returns to the root folder; expires_in counts down to the
// slot's date; an Enterprise portal has no urlKey; error texts that no source shows are made up, so nobody
// should match them.
//
// # Disturbances
//
// Faults, unlike knobs, are things that happen to any server: latency, errors, silence, cut connections, lost
// replies, half answers, pages where JSON was asked for. They are set in Go (Portal.SetFaults) or over HTTP
// (/emulator/faults), as knobs are (Portal.SetKnobs, /emulator/knobs). The /emulator pages are open to
// everyone who can connect: listen on a loopback address.
//
// # State
//
// Everything is in memory, and with Config.Dir also in a journal of JSON lines, one per change, which is
// written before the change is answered and rewritten without history at the next start. A killed process
// loses nothing that it answered. Keys are stored as hashes; client secrets in clear, since the portal has
// to show them. Counters, events, usage, dead keys that a RevokedKeyDelay keeps going, and what search has
// not indexed yet live in memory only.
//
// # Proof with Esri's own client
//
// clientcheck runs Esri's JavaScript packages against the emulator (TestEsriJavaScriptClient, build tag esri).
package emulator
