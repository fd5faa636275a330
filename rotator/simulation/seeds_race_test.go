//go:build race

package simulation_test

// defaultSeeds is less under the race detector, which looks for other things.
const defaultSeeds = 100
