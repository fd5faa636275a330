//go:build !race

package main

// mostLost is the part of claims that may be lost to another daemon.
const mostLost = 0.02
