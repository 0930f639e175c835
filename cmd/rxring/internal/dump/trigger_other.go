//go:build !linux

package dump

import (
	"context"
	"errors"
	"fmt"
)

var errNoTrigger = fmt.Errorf("rxring dump trigger needs Linux: send SIGUSR2 to the flight recorder: %w", errors.ErrUnsupported)

// RecorderDir is not available.
func RecorderDir() (string, error) { return "", errNoTrigger }

// ListenTrigger is not available.
func ListenTrigger(string, chan<- Request) (stop func(), err error) { return nil, errNoTrigger }

// Recorders is not available.
func Recorders(string) ([]int, error) { return nil, errNoTrigger }

// Trigger is not available.
func Trigger(context.Context, string, int) (string, error) { return "", errNoTrigger }
