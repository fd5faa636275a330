// Package declare reads the credentials that people declare in YAML files, for
// `keyturn apply -f`.
//
// The files are authoritative for what a credential should be, the record for
// what it is. A declaration goes through two states:
//
//	read      it has the shape of a declaration and makes sense by itself; the
//	          policy holds only what the file says
//	resolved  its issuer exists, its name is the only one of its kind, and the
//	          policy can be kept there; defaults are filled in
//
// Both steps report everything that is wrong, each with file, line and column,
// and return the declarations that are right, so that the problems of both can
// be shown together. Apply nothing while there is one.
//
// What a credential may be given (privileges, items, referrers and the texts beside
// them) is checked by the same rules when a daemon takes a spec from anybody: Check.
// Whether an item exists only its issuer knows, which the daemon asks.
package declare
