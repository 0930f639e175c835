//go:build !unix

package dump

import (
	"context"
	"errors"
	"os"
)

// OpenFIFO opens a FIFO for writing: not on this system.
func OpenFIFO(context.Context, string) (*os.File, error) { return nil, errors.ErrUnsupported }

func awaitReaderGone(ctx context.Context, _ *os.File) { <-ctx.Done() }
