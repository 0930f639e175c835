//go:build nolibpcap || !(darwin || linux) || !(amd64 || arm64)

package pcapfilter

import (
	"errors"
	"fmt"

	"github.com/rxring/rxring/cbpf"
)

// Compile needs libpcap, which this build does not load.
func Compile(expr string, linktype int, snaplen int) ([]cbpf.Instruction, error) {
	return nil, fmt.Errorf("filter %q: this build of rxring does not load libpcap, which compiles filter expressions: capture without one, or build rxring for Linux or macOS without the tag nolibpcap: %w", expr, errors.ErrUnsupported)
}
