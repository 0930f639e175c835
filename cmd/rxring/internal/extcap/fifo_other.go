//go:build !unix

package extcap

import (
	"context"
	"errors"
	"os"
)

func openWriter(context.Context, string) (*os.File, error) { return nil, errors.ErrUnsupported }

func openControl(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func awaitReaderGone(ctx context.Context, _ *os.File) { <-ctx.Done() }
