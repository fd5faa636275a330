package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config/strict"
)

// The patterns of the schema; a test compares them.
var (
	operatorName     = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	namespacePattern = regexp.MustCompile(`^([a-z0-9-]{1,63}|[a-z0-9-]{0,62}\*)$`)
)

// CheckOperators says what is wrong with a file that has operators only, without
// the lines.
func CheckOperators(data []byte) error {
	docs, err := strict.Documents("the operator", data)
	if err != nil {
		return err
	}
	var file struct {
		Operators map[string]Operator `yaml:"operators,named"`
	}
	r := docs[0].Decode(&file)
	(&checker{Report: r}).operators(file.Operators)
	for _, problem := range r.Problems {
		problem.Pos = strict.Pos{File: problem.Pos.File}
	}
	return r.Problems.Err()
}

// operators checks who may send requests.
func (k *checker) operators(operators map[string]Operator) {
	keys := map[string]string{} // key → whose it is
	for _, name := range slices.Sorted(maps.Keys(operators)) {
		path, o := "operators."+name, operators[name]
		if !operatorName.MatchString(o.Name) {
			k.Addf(path, "not a name: want a-z, 0-9 and -, 1 to 63 characters")
		}
		if slices.Contains([]string{"policy", "sweep"}, o.Name) {
			k.Addf(path, "a name that the record has for what nobody asked for: want another one")
		}
		switch before, twice := keys[o.Key]; {
		case o.Key == "": // missing, which is told
		case len(o.Key) > 1 && o.Key[:2] == "SU":
			k.Addf(path+".key", "this is the seed, which only %s may have: want the public key, which begins with U; make another one (keyturn operator new)", name)
		case !nkeys.IsValidPublicUserKey(o.Key):
			k.Addf(path+".key", "not a public key that `keyturn operator new` printed: it begins with U and has 56 characters")
		case twice:
			k.Addf(path+".key", "this is the key of %s as well: each operator has one of its own", before)
		default:
			keys[o.Key] = name
		}
		k.grants(path+".roles", o.Roles)
	}
}

func (k *checker) grants(path string, grants []Grant) {
	if len(grants) == 0 && k.Given(path) {
		k.Addf(path, "empty: want at least one role")
	}
	for i, g := range grants {
		at := fmt.Sprintf("%s[%d].namespaces", path, i)
		if len(g.Namespaces) == 0 && k.Given(at) {
			k.Addf(at, `empty: want names, or "*" for all`)
		}
		for j, pattern := range g.Namespaces {
			if !namespacePattern.MatchString(pattern) {
				k.Addf(fmt.Sprintf("%s[%d]", at, j), "%q is not a namespace: want a-z, 0-9 and -, with * at its end for all that begin so", pattern)
			}
		}
	}
}
