// Package strict reads YAML files into structs the way an operator wants it:
// an unknown field, a wrong type and a missing value are errors that name file,
// line and column, and all of them are told at once, not only the first.
//
// The file is authoritative; nothing is filled in here. What a struct accepts
// stands in its tags:
//
//	yaml:"name"            the field's name in the file
//	yaml:"name,required"   it must be there, and not be empty text
//	yaml:"name,named"      a map from names to structs that may also be written
//	                       as a list; each element then says its "name"
//	yaml:"name,text"       a Texter that may also be written as plain text
//	enum:"one two"         the only values of a text field
//
// A document is in one of three states: not readable as YAML (one Problem, at
// the place where the reader gave up), readable but not of the wanted shape
// (a Problem for each field), or decoded. Anchors, aliases and merge keys work;
// YAML tags such as !!str do not.
//
// No message repeats a value of a type that can hold a secret.
package strict
