package emulator

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Banner is what the landing page says first. No answer of this package may be taken for ArcGIS.
const Banner = "keyturn emulated portal - NOT ArcGIS"

// The user that exists when Config.Users is empty.
const (
	DefaultUser     = "keyturn"
	DefaultPassword = "emulated-portal-password"
)

// Edition is the product whose paths and habits are emulated.
type Edition string

// Editions.
const (
	// Online is ArcGIS Online and ArcGIS Location Platform: base path /sharing/rest, with a recycle bin.
	Online Edition = "online"
	// Enterprise has base path /WEB-ADAPTOR/sharing/rest, another scheme of versions, no organisation's host of
	// its own and no recycle bin; API keys and app tokens cannot create items there.
	Enterprise Edition = "enterprise"
)

// Org describes the emulated organisation.
type Org struct {
	// ID is the organisation id. Empty = "kEyTuRnEmUlAtOr1".
	ID string
	// Name is its display name. Empty = "keyturn emulated portal".
	Name string
	// URLKey is the host prefix that it would have. Empty = "keyturn-emulated" (online), none (enterprise).
	URLKey string
	// CurrentVersion is what portals/self says, as a string. Empty = "2026.1" (online), "11.5" (enterprise).
	CurrentVersion string
	// SubscriptionType is subscriptionInfo.type. Empty = "LocationPlatform" (online), "Enterprise" (enterprise).
	SubscriptionType string
}

// adaptorLetters may stand in the name of a web adaptor.
const adaptorLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// Config holds everything a Portal needs. The zero value is a working portal in memory.
type Config struct {
	// Dir is the folder for the journal. It is created if missing. Empty = memory only.
	Dir string
	// Users maps user name → password. Empty = DefaultUser with DefaultPassword.
	Users map[string]string
	// Admins are the users that may act on other users' content. Empty = nobody.
	Admins []string
	// Held maps user name → the privileges that the user holds; registering or updating an app with any
	// other privilege is refused. A user without an entry holds every privilege.
	Held map[string][]string
	// Org describes the organisation. Zero fields have the defaults stated there.
	Org Org
	// Edition chooses paths and habits. Empty = Online.
	Edition Edition
	// WebAdaptor is the part of an Enterprise portal's path that its installer chose. Empty = "portal".
	WebAdaptor string
	// MinLifetime is the shortest key lifetime that an expiration date may ask for. Zero = 24 h.
	MinLifetime time.Duration
	// MaxLifetime is the longest one. Zero = 366 days.
	MaxLifetime time.Duration
	// Now is the portal's clock, also behind the Date header. Nil = time.Now.
	Now func() time.Time
	// Knobs settle what no document says about the real portal. Zero = the default of each knob.
	Knobs Knobs
	// Faults are the disturbances at start. Zero = none.
	Faults Faults
	// MaxEvents bounds the event log; the oldest are dropped. Zero = 10,000.
	MaxEvents int
}

func (c Config) withDefaults() (Config, error) {
	if c.Edition == "" {
		c.Edition = Online
	}
	if c.Edition != Online && c.Edition != Enterprise {
		return c, fmt.Errorf("emulator: unknown edition %q (want %q or %q)", c.Edition, Online, Enterprise)
	}
	switch {
	case c.Edition == Enterprise:
		setDefault(&c.WebAdaptor, "portal")
	case c.WebAdaptor != "":
		return c, errors.New("emulator: only Enterprise has a web adaptor")
	}
	if strings.Trim(c.WebAdaptor, adaptorLetters) != "" {
		return c, fmt.Errorf("emulator: %q is no web adaptor: want one part of a path", c.WebAdaptor)
	}
	if len(c.Users) == 0 {
		c.Users = map[string]string{DefaultUser: DefaultPassword}
	}
	for _, name := range c.Admins {
		if _, ok := c.Users[name]; !ok {
			return c, fmt.Errorf("emulator: admin %q is not among the users", name)
		}
	}
	for name := range c.Held {
		if _, ok := c.Users[name]; !ok {
			return c, fmt.Errorf("emulator: privileges are given for %q, who is not among the users", name)
		}
	}
	setDefault(&c.Org.ID, "kEyTuRnEmUlAtOr1")
	setDefault(&c.Org.Name, "keyturn emulated portal")
	if c.Edition == Online {
		setDefault(&c.Org.URLKey, "keyturn-emulated")
		setDefault(&c.Org.CurrentVersion, "2026.1")
		setDefault(&c.Org.SubscriptionType, "LocationPlatform")
	} else {
		setDefault(&c.Org.CurrentVersion, "11.5")
		setDefault(&c.Org.SubscriptionType, "Enterprise")
	}
	setDefault(&c.MinLifetime, 24*time.Hour)
	setDefault(&c.MaxLifetime, 366*24*time.Hour)
	if c.MinLifetime < 0 || c.MaxLifetime < c.MinLifetime {
		return c, errors.New("emulator: MinLifetime and MaxLifetime must be positive and in order")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	setDefault(&c.MaxEvents, 10_000)
	if c.MaxEvents < 0 {
		return c, errors.New("emulator: MaxEvents must not be negative")
	}
	return c, nil
}

// basePath is the path under which all portal endpoints lie.
func (c Config) basePath() string {
	if c.Edition == Enterprise {
		return "/" + c.WebAdaptor + "/sharing/rest"
	}
	return "/sharing/rest"
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
