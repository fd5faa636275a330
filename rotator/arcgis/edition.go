package arcgis

import (
	"context"
	"errors"

	"github.com/keyturn/keyturn/rotator/credential"
)

// versioned adds to a failure what an Enterprise portal calls its version: one
// that is too old for API key credentials either refuses their parameters or
// does not look at them, and says nothing of that. Which versions have them is
// told by what they do, since the sources contradict each other.
func (p *Portal) versioned(ctx context.Context, err error) error {
	var fault *credential.Fault
	if !errors.As(err, &fault) || fault.Class != credential.ClassPermanent && fault.Class != credential.ClassUnknown || fault.Silent {
		return err
	}
	var answer self
	r := request{name: "whoami", op: "ask for the version", path: "/portals/self"}
	if _, asked := p.manage(ctx, r, &answer); asked != nil || !answer.Enterprise {
		return err
	}
	hint := "this is ArcGIS Enterprise, version " + printable(answer.Version) + ": if that has no API key credentials (11.4 and later have them), update the portal"
	if fault.Hint != "" {
		hint = fault.Hint + "; " + hint
	}
	return reclassed(err, fault.Class, hint)
}
