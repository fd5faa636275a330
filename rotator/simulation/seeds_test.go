//go:build !race

package simulation_test

// defaultSeeds is what `go test` runs.
const defaultSeeds = 2000
