// Package size reads and writes numbers of bytes, as "64MiB".
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// Want is what Parse takes, for messages.
const Want = `a size such as "64MiB" or "1GiB"`

// Parse reads a positive size with a unit: KiB, MiB or GiB.
func Parse(text string) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil || n == 0 || n > math.MaxInt64/uint64(u.bytes) {
			break
		}
		return int64(n) * u.bytes, nil
	}
	return 0, fmt.Errorf("%q: want %s, in KiB, MiB or GiB", text, Want)
}

// Format writes what Parse reads, or "1000 bytes" if n is no multiple of 1 KiB.
func Format(n int64) string {
	for _, u := range units {
		if n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
