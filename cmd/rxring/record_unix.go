//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyTrigger relays the signal that triggers a flight recorder to c.
func notifyTrigger(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR2) }
