//go:build race

package main

// mostLost is the part of claims that may be lost to another daemon: the race detector
// makes a daemon slow enough to be taken for one that does not come.
const mostLost = 0.05
