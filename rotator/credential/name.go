package credential

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Name is the name of a credential as people write it: "namespace/name".
// Both parts match [a-z0-9-]{1,63}, so that a name is also a NATS subject
// token pair and a Vault path.
type Name string

var namePart = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// maxTold is how much of what is no name is told: keys are longer.
const maxTold = 40

// ParseName checks and returns a name.
func ParseName(s string) (Name, error) {
	namespace, base, ok := strings.Cut(s, "/")
	if !ok || !namePart.MatchString(namespace) || !namePart.MatchString(base) {
		if len(s) > maxTold {
			return "", errors.New("that is not a credential name, and not repeated, since it may be a key: want namespace/name, each of a-z, 0-9 and -, 1 to 63 characters")
		}
		return "", fmt.Errorf("%q is not a credential name: want namespace/name, each of a-z, 0-9 and -, 1 to 63 characters", s)
	}
	return Name(s), nil
}

// Namespace is the part before the slash.
func (n Name) Namespace() string {
	namespace, _, _ := strings.Cut(string(n), "/")
	return namespace
}

// Base is the part after the slash.
func (n Name) Base() string {
	_, base, _ := strings.Cut(string(n), "/")
	return base
}
