//go:build !unix

package extcap

import (
	"errors"
	"os"
)

func openControl(string) (*os.File, error) { return nil, errors.ErrUnsupported }
