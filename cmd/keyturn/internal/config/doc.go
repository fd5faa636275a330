// Package config reads the one YAML file of the daemon and the command line.
//
// The file is authoritative. The environment fills in only what it is silent
// about: KEYTURN_NATS_URL, VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, where no
// login is given VAULT_TOKEN, and for who runs the command line
// KEYTURN_OPERATOR_SEED_FILE or KEYTURN_OPERATOR_SEED. KEYTURN_CONFIG names the
// file itself. File names in it are relative to the folder that it lies in.
//
// Reading is strict: an unknown field, a bad value or a rule that two fields
// break is an error with file, line and column, and all of them are reported at
// once. What works but is unwise (a secret in the file, a secret that everybody
// may read, a password over plain text) is a warning, see Config.Warnings.
//
// Secrets are named, not held: a Source is read anew whenever its secret is
// needed, so a changed one is used without a restart. No error, warning, digest
// or printed configuration holds the value of one.
package config
