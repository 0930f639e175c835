//go:build !race

package racetest

// Enabled reports whether the race detector is on: code is slower, several times.
const Enabled = false
