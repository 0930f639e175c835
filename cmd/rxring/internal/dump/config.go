package dump

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rxring/rxring/capture"
)

// Config has the options of a capture.
type Config struct {
	Capture    capture.Config // Filter is ignored: Expression replaces it
	Expression string         // a filter in libpcap's language; "": everything

	Count int           // packets to end after; 0: no limit
	For   time.Duration // time to end after; 0: no limit

	File     string // of pcapng; "-": standard output; tcp:HOST:PORT: to clients that connect; "": lines of text instead
	Public   bool   // File is tcp:HOST:PORT of any address, not only of a loopback one
	Rotation Rotation
	Quiet    bool   // print nothing but errors to standard error
	Version  string // of rxring, for the files' headers
}

// Rotation says when the next file begins. Zero values: never.
type Rotation struct {
	Size   int64         // bytes: the packet that exceeds it is a file's last
	Period time.Duration // whole seconds: each period that has packets has its own file
	Files  int           // with Period: periods to end after; with Size alone: files to cycle through
}

// UsageError is an error in the options.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Check checks the options. Its error is a [*UsageError] that names the flag.
func (c *Config) Check() error {
	if err := c.check(); err != nil {
		return &UsageError{err}
	}
	return nil
}

// maxSnaplen is the limit of capture.Config.Snaplen, in bytes.
const maxSnaplen = 262144

func (c *Config) check() error {
	r := c.Rotation
	switch {
	case c.Count < 0:
		return fmt.Errorf("-c %d: want a number of packets, or 0 for no end", c.Count)
	case c.Capture.Snaplen < 0 || c.Capture.Snaplen > maxSnaplen:
		return fmt.Errorf("-s %d: want 1 to %d bytes, or 0 for the most", c.Capture.Snaplen, maxSnaplen)
	case c.For < 0:
		return fmt.Errorf("--for %v: want a positive time, such as 30s", c.For)
	case r.Period < 0 || r.Period%time.Second != 0:
		return fmt.Errorf("-G %v: want whole seconds, 1 or more", r.Period.Seconds())
	case r.Files < 0:
		return fmt.Errorf("-W %d: want a number of files, 1 or more", r.Files)
	case r.Size < 0:
		return fmt.Errorf("-C %d: want 1 byte or more", r.Size)
	case r.Files > 0 && r.Size == 0 && r.Period == 0:
		return errors.New("-W counts the files of -C or -G: want one of them with it")
	case (r.Size > 0 || r.Period > 0) && (c.File == "" || c.File == "-" || strings.HasPrefix(c.File, tcpScheme)):
		return errors.New("-C and -G rotate files: want -w FILE with them")
	}
	if err := checkTCP(c.File, c.Public); err != nil {
		return err
	}
	if _, err := newNamer(c.File, r); err != nil {
		return err
	}
	return nil
}

// ParseSize parses -C's SIZE: millions of bytes or, with a suffix k, m or g, KiB, MiB or GiB.
// It returns bytes.
func ParseSize(text string) (int64, error) {
	unit := int64(1_000_000)
	number := strings.ToLower(text)
	if i := len(number) - 1; i >= 0 {
		switch number[i] {
		case 'k':
			unit = 1 << 10
		case 'm':
			unit = 1 << 20
		case 'g':
			unit = 1 << 30
		}
		if unit&(unit-1) == 0 {
			number = number[:i]
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("-C %q: want millions of bytes, or a number with the suffix k, m or g", text)
	}
	return n * unit, nil
}
