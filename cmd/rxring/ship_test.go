package main

import (
	"context"
	"testing"

	"github.com/rxring/rxring/fleet/hub"
)

// TestShipEndedWhileItBegins: a signal that arrives before the devices are open is no error.
func TestShipEndedWhileItBegins(t *testing.T) {
	h, err := hub.Start(hub.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := shipFlags{to: h.URL(), from: []string{"exec:sleep 10"}}
	if err := f.run(ctx); err != nil {
		t.Error(err)
	}
}
