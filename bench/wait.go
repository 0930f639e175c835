package bench

import (
	"errors"
	"time"
)

// patience bounds every wait for somebody else.
const patience = 5 * time.Second

var errPatience = errors.New("gave up waiting")

// waitFor waits until done says so.
func waitFor(done func() bool) error {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			return errPatience
		}
	}
	return nil
}
