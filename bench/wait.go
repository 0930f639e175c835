package bench

import (
	"fmt"
	"time"
)

// waitTimeout bounds every wait for another goroutine or process.
const waitTimeout = 5 * time.Second

var errTimeout = fmt.Errorf("not done after %v", waitTimeout)

// waitFor polls done until it returns true, or fails after waitTimeout.
func waitFor(done func() bool) error {
	for deadline := time.Now().Add(waitTimeout); !done(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			return errTimeout
		}
	}
	return nil
}
