package attach

import "time"

// SetPatience changes how long ends wait for each other, and returns what changes
// it back.
func SetPatience(d time.Duration) (back func()) {
	before := patience
	patience = d
	return func() { patience = before }
}
