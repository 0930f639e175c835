package main

import (
	"context"
	"errors"

	"github.com/rxring/rxring/fleet"
)

// probeServers reports, for the server of each fleet of --from, whether a slow reader delays
// others there.
func probeServers(ctx context.Context, from []string) error {
	specs, err := parseFrom(from)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	probed := false
	for _, s := range specs {
		server, ok := s.FleetServer()
		if !ok {
			continue
		}
		probed = true
		nc, _, err := s.DialFleet()
		if err != nil {
			return &exitError{exitFailure, err}
		}
		delays, err := fleet.DelaysPublishers(ctx, nc)
		nc.Close()
		switch {
		case err != nil:
			return &exitError{exitFailure, err}
		case delays:
			say("%s: a reader that is slow delays hosts there, and costs other readers packets: want no_fast_producer_stall: true in the server's configuration", server)
		default:
			say("%s: a reader that is slow costs other readers nothing there", server)
		}
	}
	if !probed {
		return &exitError{exitUsage, errors.New("--probe: it probes the server of a fleet: want --from nats://SERVER[/HOSTS[/DEVICES]]")}
	}
	return nil
}
