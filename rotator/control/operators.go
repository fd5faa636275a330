package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Role is what an operator may do. Each of viewer, rotator, responder and admin
// includes those before it; which endpoint needs which stands in
// Service.endpoints, and nowhere else.
type Role string

// The roles.
const (
	RoleViewer    Role = "viewer"
	RoleRotator   Role = "rotator"
	RoleResponder Role = "responder"
	RoleAdmin     Role = "admin"
	// RoleConsumer is that of a service that acknowledges keys, and no more.
	RoleConsumer Role = "consumer"

	roleAny Role = "" // any operator
)

// includes reports whether a role is enough where least is needed.
func (r Role) includes(least Role) bool {
	if r == least || least == roleAny || r == RoleAdmin {
		return true
	}
	order := []Role{RoleViewer, RoleRotator, RoleResponder, RoleAdmin}
	have, need := slices.Index(order, r), slices.Index(order, least)
	return need >= 0 && have >= need
}

// Grant is a role in namespaces: each a name, "*" for all, or the beginning of
// names with "*" after it.
type Grant struct {
	Role       Role     `json:"role"`
	Namespaces []string `json:"namespaces"`
}

// everywhere is the pattern of all namespaces.
const everywhere = "*"

func (g Grant) covers(namespace string) bool {
	return slices.ContainsFunc(g.Namespaces, func(pattern string) bool {
		beginning, wild := strings.CutSuffix(pattern, "*")
		return pattern == namespace || (wild && strings.HasPrefix(namespace, beginning))
	})
}

// Operator is a person or service that may send requests.
type Operator struct {
	Name   string  `json:"operator"`
	Grants []Grant `json:"grants"`
}

// Operators are known by their public keys ("U…").
type Operators map[string]Operator

// scope is what a request is about.
type scope int

const (
	ofCredential   scope = iota // one credential
	ofInstallation              // all of them
	ofNothing                   // none: a role in any namespace is enough
)

// may reports whether an operator has a role that is enough, and says what is
// missing otherwise.
func (o Operator) may(least Role, what scope, name credential.Name) error {
	for _, g := range o.Grants {
		if !g.Role.includes(least) {
			continue
		}
		switch what {
		case ofNothing:
			return nil
		case ofInstallation:
			if slices.Contains(g.Namespaces, everywhere) {
				return nil
			}
		case ofCredential:
			if g.covers(name.Namespace()) {
				return nil
			}
		}
	}
	switch what {
	case ofCredential:
		return fmt.Errorf("operator %s lacks the role %s in namespace %s", o.Name, least, name.Namespace())
	case ofInstallation:
		return fmt.Errorf("operator %s lacks the role %s in all namespaces (*)", o.Name, least)
	case ofNothing:
	}
	return fmt.Errorf("operator %s lacks the role %s", o.Name, least)
}
