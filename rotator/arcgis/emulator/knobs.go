package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Values of the knobs. The first of each group is the default.
const (
	// Knobs.Rounding: how a stored expiration date is rounded.
	RoundSecond   = "second"
	RoundNone     = "none"
	RoundEndOfDay = "end-of-day"

	// Knobs.RegenerateFalse: a key is asked for with regenerateApiToken=false on an active slot.
	RegenerateError  = "error"   // refused, the old key lives
	RegenerateNewKey = "new-key" // as with true: the old key dies
	RegenerateKeep   = "keep"    // success with an empty access_token, the old key lives (it cannot be shown again)

	// Knobs.ExpirationMissing, …Past, …TooShort, …TooLong.
	ExpirationError  = "error"  // refused
	ExpirationClamp  = "clamp"  // moved to the nearest allowed date (missing: the longest lifetime)
	ExpirationAccept = "accept" // taken as it is (not for missing)

	// Knobs.AppUpdate: which oauth2/apps/{id}/update kills both keys.
	AppUpdateAlways     = "always"     // each one
	AppUpdateChanged    = "changed"    // one that changes any value
	AppUpdatePrivileges = "privileges" // one that changes the privileges

	// Knobs.RevokeEmptySlot, RevokeNoSlot, RevokeWrongSecret.
	RevokeSuccess = "success" // says success, does nothing
	RevokeError   = "error"   // refused
	RevokeBoth    = "both"    // RevokeNoSlot only: kills both keys

	// Knobs.ReferrerMatch: how a key's referrers are compared with the Referer header.
	ReferrerHost   = "host"   // host (and port if the pattern has one), * matches any run of characters
	ReferrerOrigin = "origin" // scheme, host and port
	ReferrerPrefix = "prefix" // the whole URL begins with the pattern
	ReferrerIgnore = "ignore" // never compared

	// Knobs.RecycledKeys: keys of an item in the recycle bin.
	RecycledDead      = "dead"      // die for good
	RecycledSuspended = "suspended" // do not work in the bin, work again after a restore
	RecycledAlive     = "alive"     // go on working

	// Knobs.ActiveFields: when apiTokenNActive appears.
	ActiveNotAtRegister = "not-at-register" // everywhere but in the reply of registerApp
	ActiveAlways        = "always"
	ActiveAfterFirstKey = "after-first-key" // nowhere until a first key was made

	// Knobs.KeyManages: may an API key manage items as a manager token?
	KeyManagesByPrivilege = "privilege" // needs portal:admin:viewItems, portal:admin:updateItems, …
	KeyManagesAlways      = "always"
	KeyManagesNever       = "never"

	// Knobs.UnknownPrivileges.
	PrivilegesWellFormed = "well-formed" // any string of the form portal:… or premium:… is taken
	PrivilegesStrict     = "strict"      // only the names in the published table and those seen elsewhere
	PrivilegesAny        = "any"

	// Knobs.PersonalFlag: who sets isPersonalAPIToken.
	PersonalComputed = "computed" // the portal, from the privileges
	PersonalClient   = "client"   // the client's flag stands
	PersonalStrict   = "strict"   // a client's flag that disagrees with the privileges is refused; none = false

	// Knobs.RefusedPrivileges: privileges that an app may not have, and items beyond the hundredth.
	RefusedNamed   = "named"   // refused, with the names in details
	RefusedPlain   = "plain"   // refused, without saying which
	RefusedDropped = "dropped" // left out, and nothing is said

	// Knobs.KeyCredentials: does the portal's version know API key credentials?
	KeyCredentialsKnown   = "known"
	KeyCredentialsIgnored = "ignored" // their parameters are not looked at: what comes is an app token
	KeyCredentialsRefused = "refused" // their parameters are an error

	// Knobs.UsageAppID: what usage calls an API key.
	UsageClientID = "client-id"
	UsageItemID   = "item-id"
	UsageNoID     = "none" // no appId at all, and a filter by it finds nothing

	// Knobs.SearchExpirations: the expiration dates in search results.
	SearchMinusOne = "minus-one"
	SearchExact    = "exact"
)

// Knobs settle, each in one of the thinkable ways, what is not known about the real portal. A client that
// is right passes its tests with every setting. Empty and zero mean the default.
type Knobs struct {
	// Rounding of a stored expiration date: second (default), none, end-of-day (23:59:59.999 UTC).
	Rounding string `json:"rounding"`
	// RegenerateFalse: error (default), new-key, keep.
	RegenerateFalse string `json:"regenerateFalse"`
	// ExpirationMissing (a key is generated while the date is -1): error (default), clamp.
	ExpirationMissing string `json:"expirationMissing"`
	// ExpirationPast (an item gets a date that is over): error (default), clamp, accept.
	ExpirationPast string `json:"expirationPast"`
	// ExpirationTooShort (nearer than MinLifetime): error (default), clamp, accept.
	ExpirationTooShort string `json:"expirationTooShort"`
	// ExpirationTooLong (farther than MaxLifetime): error (default), clamp, accept.
	ExpirationTooLong string `json:"expirationTooLong"`
	// DatesBeforeRegistration: an item keeps expiration dates that are set before registerApp
	// (in addItem too). Default: they are ignored.
	DatesBeforeRegistration bool `json:"datesBeforeRegistration"`
	// EditMovesLiveKey: a changed expiration date also changes the life of the slot's present key.
	// Default: the date at generation is what the key got.
	EditMovesLiveKey bool `json:"editMovesLiveKey"`
	// AppUpdate: always (default), changed, privileges.
	AppUpdate string `json:"appUpdate"`
	// RevokeEmptySlot (revoke by slot, no key there): success (default), error.
	RevokeEmptySlot string `json:"revokeEmptySlot"`
	// RevokeNoSlot (client id and secret, but no apiToken): success (default), error, both.
	RevokeNoSlot string `json:"revokeNoSlot"`
	// RevokeWrongSecret: error (default), success.
	RevokeWrongSecret string `json:"revokeWrongSecret"`
	// RevokeResetsExpiration: a revoke sets the item's date to -1. Default: the date stays.
	RevokeResetsExpiration bool `json:"revokeResetsExpiration"`
	// ExpiryClearsActive: apiTokenNActive turns false when the key expires. Default: it stays true.
	ExpiryClearsActive bool `json:"expiryClearsActive"`
	// ReferrerMatch: host (default), origin, prefix, ignore.
	ReferrerMatch string `json:"referrerMatch"`
	// MaxReferrers refuses longer lists. Zero = no limit.
	MaxReferrers int `json:"maxReferrers"`
	// NewKeyDelay: a new key answers 498 for so long after its generation. Zero = works at once.
	NewKeyDelay time.Duration `json:"newKeyDelay"`
	// RevokedKeyDelay: a revoked, replaced or deleted key is accepted for so long. Zero = dies at once.
	RevokedKeyDelay time.Duration `json:"revokedKeyDelay"`
	// ActiveLag: apiTokenNActive shows its previous value for so long after a change. Zero = read-your-writes.
	ActiveLag time.Duration `json:"activeLag"`
	// ActiveFields: not-at-register (default), always, after-first-key.
	ActiveFields string `json:"activeFields"`
	// SearchLag: the search index follows so much later. Zero = at once.
	SearchLag time.Duration `json:"searchLag"`
	// SearchExpirations: minus-one (default), exact.
	SearchExpirations string `json:"searchExpirations"`
	// ListMinusOne: folder listings, too, show -1 for expiration dates. Default: exact.
	ListMinusOne bool `json:"listMinusOne"`
	// RecycledKeys: dead (default), suspended, alive.
	RecycledKeys string `json:"recycledKeys"`
	// ThrottleRequests is the number of portal requests that one ThrottleWindow allows. Zero = no throttling.
	ThrottleRequests int `json:"throttleRequests"`
	// ThrottleWindow is the length of a throttling window. Zero = 1 min.
	ThrottleWindow time.Duration `json:"throttleWindow"`
	// ThrottleStatus is the HTTP status of a throttled answer: 403 (default), 429, or 200 (only the body says so).
	ThrottleStatus int `json:"throttleStatus"`
	// ThrottleRetryAfter goes into the Retry-After header of a throttled answer, in whole seconds. Zero = no header.
	ThrottleRetryAfter time.Duration `json:"throttleRetryAfter"`
	// TokenMinutes caps the lifetime of manager tokens, in minutes (maxTokenExpirationMinutes of the
	// organisation). Zero = no cap by the organisation; the portal's own cap of 21,600 stays.
	TokenMinutes int `json:"tokenMinutes"`
	// KeyManages: privilege (default), always, never.
	KeyManages string `json:"keyManages"`
	// AppTokenManages: app tokens (client_credentials) may manage their owner's items. Default: 403.
	AppTokenManages bool `json:"appTokenManages"`
	// NoBearer: "Authorization: Bearer" is not looked at by the portal's endpoints. Default: it is.
	NoBearer bool `json:"noBearer"`
	// UnknownPrivileges: well-formed (default), strict, any.
	UnknownPrivileges string `json:"unknownPrivileges"`
	// RefusedPrivileges: named (default), plain, dropped.
	RefusedPrivileges string `json:"refusedPrivileges"`
	// PersonalFlag: computed (default), client, strict.
	PersonalFlag string `json:"personalFlag"`
	// KeyCredentials: known (default), ignored, refused.
	KeyCredentials string `json:"keyCredentials"`
	// NoLocationServices: the privileges of location services ("premium:…") do not exist. Default: they do.
	NoLocationServices bool `json:"noLocationServices"`
	// NoAPITokens: portals/self/apiTokens does not exist. Default: it does.
	NoAPITokens bool `json:"noAPITokens"`
	// NoUsage: portals/self/usage does not exist. Default: it does.
	NoUsage bool `json:"noUsage"`
	// UsageLag: usage that is younger is not reported yet. Zero = reported at once.
	UsageLag time.Duration `json:"usageLag"`
	// UsageAppID: client-id (default), item-id, none.
	UsageAppID string `json:"usageAppID"`
}

// wordKnob is a knob whose positions are words, the default first.
type wordKnob struct {
	name      string
	field     *string
	positions []string
}

func (k *Knobs) words() []wordKnob {
	return []wordKnob{
		{"rounding", &k.Rounding, []string{RoundSecond, RoundNone, RoundEndOfDay}},
		{"regenerateFalse", &k.RegenerateFalse, []string{RegenerateError, RegenerateNewKey, RegenerateKeep}},
		{"expirationMissing", &k.ExpirationMissing, []string{ExpirationError, ExpirationClamp}},
		{"expirationPast", &k.ExpirationPast, []string{ExpirationError, ExpirationClamp, ExpirationAccept}},
		{"expirationTooShort", &k.ExpirationTooShort, []string{ExpirationError, ExpirationClamp, ExpirationAccept}},
		{"expirationTooLong", &k.ExpirationTooLong, []string{ExpirationError, ExpirationClamp, ExpirationAccept}},
		{"appUpdate", &k.AppUpdate, []string{AppUpdateAlways, AppUpdateChanged, AppUpdatePrivileges}},
		{"revokeEmptySlot", &k.RevokeEmptySlot, []string{RevokeSuccess, RevokeError}},
		{"revokeNoSlot", &k.RevokeNoSlot, []string{RevokeSuccess, RevokeError, RevokeBoth}},
		{"revokeWrongSecret", &k.RevokeWrongSecret, []string{RevokeError, RevokeSuccess}},
		{"referrerMatch", &k.ReferrerMatch, []string{ReferrerHost, ReferrerOrigin, ReferrerPrefix, ReferrerIgnore}},
		{"activeFields", &k.ActiveFields, []string{ActiveNotAtRegister, ActiveAlways, ActiveAfterFirstKey}},
		{"searchExpirations", &k.SearchExpirations, []string{SearchMinusOne, SearchExact}},
		{"recycledKeys", &k.RecycledKeys, []string{RecycledDead, RecycledSuspended, RecycledAlive}},
		{"keyManages", &k.KeyManages, []string{KeyManagesByPrivilege, KeyManagesAlways, KeyManagesNever}},
		{"unknownPrivileges", &k.UnknownPrivileges, []string{PrivilegesWellFormed, PrivilegesStrict, PrivilegesAny}},
		{"refusedPrivileges", &k.RefusedPrivileges, []string{RefusedNamed, RefusedPlain, RefusedDropped}},
		{"personalFlag", &k.PersonalFlag, []string{PersonalComputed, PersonalClient, PersonalStrict}},
		{"keyCredentials", &k.KeyCredentials, []string{KeyCredentialsKnown, KeyCredentialsIgnored, KeyCredentialsRefused}},
		{"usageAppID", &k.UsageAppID, []string{UsageClientID, UsageItemID, UsageNoID}},
	}
}

// Positions lists the positions of each knob that has words for them, by its name in JSON, the default first.
func Positions() map[string][]string {
	positions := map[string][]string{}
	for _, knob := range new(Knobs).words() {
		positions[knob.name] = knob.positions
	}
	return positions
}

// withDefaults fills in the defaults and refuses values that no knob has.
func (k Knobs) withDefaults() (Knobs, error) {
	for _, knob := range k.words() {
		setDefault(knob.field, knob.positions[0])
		if !slices.Contains(knob.positions, *knob.field) {
			return k, fmt.Errorf("emulator: knob %s cannot be %q (want one of %q)", knob.name, *knob.field, knob.positions)
		}
	}
	setDefault(&k.ThrottleWindow, time.Minute)
	setDefault(&k.ThrottleStatus, 403)
	if !slices.Contains([]int{200, 403, 429}, k.ThrottleStatus) {
		return k, fmt.Errorf("emulator: knob throttleStatus cannot be %d (want 200, 403 or 429)", k.ThrottleStatus)
	}
	for _, d := range []time.Duration{k.NewKeyDelay, k.RevokedKeyDelay, k.ActiveLag, k.SearchLag, k.ThrottleWindow, k.ThrottleRetryAfter, k.UsageLag} {
		if d < 0 {
			return k, fmt.Errorf("emulator: a knob's duration is negative: %v", d)
		}
	}
	if k.MaxReferrers < 0 || k.ThrottleRequests < 0 || k.TokenMinutes < 0 {
		return k, fmt.Errorf("emulator: a knob's count is negative")
	}
	return k, nil
}

// plainKnobs is Knobs without its JSON methods.
type plainKnobs Knobs

// knobsJSON writes durations as strings such as "30s".
type knobsJSON struct {
	plainKnobs
	NewKeyDelay        durationJSON `json:"newKeyDelay"`
	RevokedKeyDelay    durationJSON `json:"revokedKeyDelay"`
	ActiveLag          durationJSON `json:"activeLag"`
	SearchLag          durationJSON `json:"searchLag"`
	ThrottleWindow     durationJSON `json:"throttleWindow"`
	ThrottleRetryAfter durationJSON `json:"throttleRetryAfter"`
	UsageLag           durationJSON `json:"usageLag"`
}

// MarshalJSON writes durations as strings such as "30s".
func (k Knobs) MarshalJSON() ([]byte, error) {
	return json.Marshal(knobsJSON{plainKnobs(k), durationJSON(k.NewKeyDelay), durationJSON(k.RevokedKeyDelay), durationJSON(k.ActiveLag),
		durationJSON(k.SearchLag), durationJSON(k.ThrottleWindow), durationJSON(k.ThrottleRetryAfter), durationJSON(k.UsageLag)})
}

// UnmarshalJSON reads what MarshalJSON writes and refuses unknown names.
func (k *Knobs) UnmarshalJSON(data []byte) error {
	var j knobsJSON
	if err := decodeStrict(data, &j); err != nil {
		return err
	}
	*k = Knobs(j.plainKnobs)
	k.NewKeyDelay, k.RevokedKeyDelay = time.Duration(j.NewKeyDelay), time.Duration(j.RevokedKeyDelay)
	k.ActiveLag, k.SearchLag, k.UsageLag = time.Duration(j.ActiveLag), time.Duration(j.SearchLag), time.Duration(j.UsageLag)
	k.ThrottleWindow, k.ThrottleRetryAfter = time.Duration(j.ThrottleWindow), time.Duration(j.ThrottleRetryAfter)
	return nil
}
