// Package vaulttest starts a real Vault for a test, and breaks the way to it.
//
// The server is deploy/devvault, which has its own module; `make build` puts
// its binary at bin/devvault. A missing binary fails the test: nothing here
// skips. Each Start is a server of its own, with its own directory, that ends
// with the test, or with the test's process at the latest.
package vaulttest
