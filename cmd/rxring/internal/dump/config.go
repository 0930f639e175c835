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

// Config says what to capture, and what becomes of it.
type Config struct {
	Capture capture.Config // but for Filter: that is Expression's
	// Expression is in libpcap's language; "": everything.
	Expression string

	Count int           // packets to end after; 0: never
	For   time.Duration // time to end after; 0: never

	File     string // pcapng; "": lines of text; "-": standard output
	Rotation Rotation
	Quiet    bool // nothing on the terminal but errors
	Version  string
}

// Rotation says when a file is enough. Zero values: never.
type Rotation struct {
	Size   int64         // bytes: a file ends with the packet that makes it larger
	Period time.Duration // whole seconds: each has a file of its own, if it has packets
	Files  int           // with Period: ends after as many periods; with Size alone: so many files are kept
}

// UsageError is that what was asked for cannot be.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Check looks for what cannot be, by the names that the command line has for it. Its
// error is a [*UsageError].
func (c *Config) Check() error {
	if err := c.check(); err != nil {
		return &UsageError{err}
	}
	return nil
}

// maxSnaplen is capture.Config's.
const maxSnaplen = 262144

func (c *Config) check() error {
	r := c.Rotation
	switch {
	case c.Count < 0:
		return fmt.Errorf("-c %d: want a number of packets, or 0 for no end", c.Count)
	case c.Capture.Snaplen < 0 || c.Capture.Snaplen > maxSnaplen:
		return fmt.Errorf("-s %d: want 1 to %d bytes, or 0 for the most", c.Capture.Snaplen, maxSnaplen)
	case c.For < 0:
		return fmt.Errorf("--for %v: want some time, such as 30s", c.For)
	case r.Period < 0 || r.Period%time.Second != 0:
		return fmt.Errorf("-G %v: want whole seconds, 1 or more", r.Period.Seconds())
	case r.Files < 0:
		return fmt.Errorf("-W %d: want a number of files, 1 or more", r.Files)
	case r.Size < 0:
		return fmt.Errorf("-C %d: want some bytes", r.Size)
	case r.Files > 0 && r.Size == 0 && r.Period == 0:
		return errors.New("-W counts the files of -C or -G: want one of them with it")
	case (r.Size > 0 || r.Period > 0) && (c.File == "" || c.File == "-"):
		return errors.New("-C and -G are for files: want -w FILE with them")
	}
	if _, err := newNamer(c.File, r); err != nil {
		return err
	}
	return nil
}

// ParseSize reads -C's SIZE: millions of bytes, or with one of the suffixes k, m and g
// as many KiB, MiB or GiB.
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
		return 0, fmt.Errorf("-C %q: want millions of bytes, or a number with k, m or g behind it", text)
	}
	return n * unit, nil
}
