//go:build !unix

package main

import "os"

// notifyTrigger does nothing: this system has no SIGUSR2.
func notifyTrigger(chan<- os.Signal) {}
