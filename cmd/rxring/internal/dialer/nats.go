package dialer

import (
	"cmp"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring/fleet"
)

// NATSAccess returns a with what it lacks from the environment, whose variables are those of the
// nats command: NATS_CREDS, NATS_NKEY and NATS_CA.
func NATSAccess(a fleet.Access) fleet.Access {
	if a.Creds == "" && a.NKey == "" {
		a.Creds = os.Getenv("NATS_CREDS")
		if a.Creds == "" {
			a.NKey = os.Getenv("NATS_NKEY")
		}
	}
	a.CA = cmp.Or(a.CA, os.Getenv("NATS_CA"))
	return a
}

// NATS is [fleet.Dial] with the access of NATSAccess.
func NATS(url string, a fleet.Access) (*nats.Conn, error) {
	options, err := NATSAccess(a).Options()
	if err != nil {
		return nil, err
	}
	return fleet.Dial(url, options...)
}
