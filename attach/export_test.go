package attach

import "time"

// ConnectBurst and ConnectRate are how many connections of a user are served.
const (
	ConnectBurst = connectBurst
	ConnectRate  = connectRate
)

// SetPatience changes how long ends wait for each other, and returns what changes
// it back.
func SetPatience(d time.Duration) (back func()) {
	before := patience
	patience = d
	return func() { patience = before }
}
