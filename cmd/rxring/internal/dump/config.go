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
	Bytes int64         // of packets, as written, to end after; 0: no limit

	File     string // of pcapng; "-": standard output; tcp:HOST:PORT: to clients that connect; "": lines of text instead
	Public   bool   // File is tcp:HOST:PORT of any address, not only of a loopback one
	Rotation Rotation
	Command  string // for a shell, run with the name of each file that is finished; "": none
	Record   Record
	Quiet    bool   // print nothing but errors to standard error
	Version  string // of rxring, for the files' headers
}

// Rotation says when the next file begins: when the first of its conditions holds. Zero
// values: never.
type Rotation struct {
	Size    int64         // bytes before compression: the packet that exceeds it is a file's last
	Packets uint64        // of a file
	Period  time.Duration // whole seconds: each period that has packets has its own file
	Files   int           // with Period: periods to end after; with Size or Packets alone: files to cycle through; with Record: files to end after
	Keep    int           // the newest files to keep; older ones are removed
}

// rotates reports whether there is more than one file.
func (r *Rotation) rotates() bool { return r.Size > 0 || r.Period > 0 || r.Packets > 0 }

// full reports whether the next packet belongs to another file.
func (r *Rotation) full(f *captureFile) bool {
	return r.Size > 0 && f.size > r.Size || r.Packets > 0 && f.packets >= r.Packets
}

// namer returns a namer for the files of c.
func (c *Config) namer() (*namer, error) {
	timed, cycle := c.Rotation.Period > 0 || c.Record.Bytes > 0, 0
	if !timed {
		cycle = c.Rotation.Files
	}
	return newNamer(c.File, timed, cycle)
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
	case c.Bytes < 0:
		return fmt.Errorf("--max-bytes %d: want 1 byte or more", c.Bytes)
	case r.Keep < 0:
		return fmt.Errorf("--keep %d: want a number of files, 1 or more", r.Keep)
	}
	if c.Record.Bytes != 0 {
		if err := c.checkRecord(); err != nil {
			return err
		}
	} else if err := c.checkFiles(); err != nil {
		return err
	}
	if err := checkTCP(c.File, c.Public); err != nil {
		return err
	}
	if err := checkCompression(c.File); err != nil && c.toFile() {
		return err
	}
	_, err := c.namer()
	return err
}

// toFile reports whether packets are written to files with names.
func (c *Config) toFile() bool {
	return c.File != "" && c.File != "-" && !strings.HasPrefix(c.File, tcpScheme)
}

// checkFiles checks the options of files that are written while the capture runs.
func (c *Config) checkFiles() error {
	r := c.Rotation
	rotates := r.rotates()
	switch {
	case c.Record.Last != 0 || c.Record.After != 0 || c.Record.Trigger != "":
		return errors.New("--trigger, --last and --after are for a flight recorder: want --record SIZE with them")
	case r.Files > 0 && !rotates:
		return errors.New("-W counts the files of -C, -G or --rotate-packets: want one of them with it")
	case r.Keep > 0 && !rotates:
		return errors.New("--keep removes files of -C, -G or --rotate-packets: want one of them with it")
	case r.Keep > 0 && r.Files > 0 && r.Period == 0:
		return errors.New("-W overwrites files in turn, and --keep removes them: want one of both, or -G")
	case rotates && !c.toFile():
		return errors.New("-C and -G rotate files: want -w FILE with them")
	case c.Command != "" && !c.toFile():
		return errors.New("-z runs a command for files: want -w FILE with it")
	}
	return nil
}

// checkRecord checks the options of a flight recorder.
func (c *Config) checkRecord() error {
	r := c.Rotation
	switch {
	case c.Record.Bytes < minRecord:
		return fmt.Errorf("--record %d: want %d bytes or more", c.Record.Bytes, minRecord)
	case c.Record.Last < 0:
		return fmt.Errorf("--last %v: want a positive time, such as 30s", c.Record.Last)
	case c.Record.After < 0:
		return fmt.Errorf("--after %v: want a positive time, such as 1s", c.Record.After)
	case !c.toFile():
		return errors.New("--record writes files: want -w FILE with it")
	case r.rotates():
		return errors.New("--record writes a file for each trigger, and -C, -G and --rotate-packets rotate files: want one of both")
	}
	return nil
}

// ParseSize parses the SIZE of a flag: millions of bytes or, with a suffix k, m or g, KiB, MiB
// or GiB. It returns bytes.
func ParseSize(flag, text string) (int64, error) {
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
		return 0, fmt.Errorf("%s %q: want millions of bytes, or a number with the suffix k, m or g", flag, text)
	}
	return n * unit, nil
}
