// Command devvault runs a real Vault server for development and tests.
//
// It is the server core of Vault 1.14 (MPL-2.0) behind Vault's own HTTP handler,
// cut down to what keyturn talks to: KV v2 with check-and-set, AppRole, tokens,
// policies, the file audit device, sealing and unsealing. It imitates nothing:
// what a test learns from it holds for Vault 1.14.
//
// It is a module of its own, because a Vault server needs some two hundred
// modules that the product's go.mod should not know. It is a process of its own,
// so that a test can kill it, and so that the product never links a server. 1.14
// is the last version under the MPL; the sdk stays at the version that Vault's
// own go.mod pins, as a newer one panics.
//
// It is NOT for production: the unseal key lies beside the data, there is no
// TLS, and the file storage survives a killed process but not a power loss.
// Bring Vault or OpenBao for that.
//
// # Running it
//
//	go build -o ../../bin/devvault .
//	devvault -foreground -dir .keyturn/vault -listen 127.0.0.1:8200 -token dev-root-token
//
// Flags:
//
//	-dir DIR       data, init.json (unseal key, root token) and lock; empty: in memory
//	-listen ADDR   a loopback address; port 0 picks a free one (default 127.0.0.1:0)
//	-token TOKEN   a root token to create besides the initial one; seen by anyone who lists processes
//	-mount PATH    where KV v2 is mounted (default secret)
//	-audit FILE    write the file audit device there
//	-log-level L   trace, debug, info, warn, error or off, to standard error (default warn)
//	-foreground    do not end when standard input closes
//
// # The contract with a parent process
//
// When it is ready it prints one line of JSON to standard output, and never
// anything else; all other output goes to standard error:
//
//	{"addr":"http://127.0.0.1:PORT","token":"…","sealed":false,"pid":N,"version":"1.14.1"}
//
// The line carries a root token. It is meant for the parent, which owns the
// pipe: do not log it. Ready means that the KV mount answers; to find out, the
// path devvault-ready on that mount is written, read and removed at each start.
//
// It ends when its standard input closes, so that a killed parent leaves no
// server behind, and on SIGTERM and SIGINT: requests get a moment to finish, the
// core is sealed, the exit status is 0. A second signal ends it at once. Status 1
// means that it could not start or serve, and 2 that the flags are wrong.
//
// The first start on a directory initialises Vault with one key share; later
// ones unseal with the stored key, also after kill -9. A second process on the
// same directory is refused. An audit device stays on in later starts, also
// without -audit, as Vault stores it with the data.
package main
