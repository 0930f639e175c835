package race

import (
	"fmt"
	"time"
)

// Config configures a run: see [Default].
type Config struct {
	Designs    []Contender // none: all
	Writers    int
	Slots      int           // or blocks
	Frame      int           // bytes each
	SlowWriter float64       // probability that a writer stalls
	Duration   time.Duration // of each design's run

	// Progress, when not nil, is called now and then with the design that runs and the
	// fraction of the whole run that is done.
	Progress func(design Contender, done float64)
}

// Default shows every fault in every run: few slots, and several writers, some of
// which stall for longer than the others need to wrap the ring.
func Default() Config {
	return Config{Writers: 4, Slots: 2, Frame: 4096, SlowWriter: 0.05, Duration: time.Second}
}

// Bounds.
const (
	maxWriters  = 256
	maxSlots    = 4096
	minFrame    = 256
	maxFrame    = 1 << 20
	maxMemory   = 1 << 30 // slots x frame
	maxDuration = time.Hour
	minDuration = 10 * time.Millisecond
)

// ConfigError is a value that cannot be run.
type ConfigError struct {
	Name  string // of the flag
	Value any
	Want  string
}

func (e *ConfigError) Error() string { return fmt.Sprintf("%s %v: want %s", e.Name, e.Value, e.Want) }

// check returns a ConfigError for the first value that cannot be run.
func (c *Config) check() error {
	refuse := func(name string, value any, want string, args ...any) error {
		return &ConfigError{name, value, fmt.Sprintf(want, args...)}
	}
	switch {
	case c.Writers < 1 || c.Writers > maxWriters:
		return refuse("writers", c.Writers, "1 to %d", maxWriters)
	case c.Slots < 1 || c.Slots > maxSlots:
		return refuse("slots", c.Slots, "1 to %d", maxSlots)
	case c.Frame < minFrame || c.Frame > maxFrame || c.Frame%16 != 0:
		return refuse("frame", c.Frame, "%d to %d bytes, a multiple of 16", minFrame, maxFrame)
	case c.Slots*c.Frame > maxMemory:
		return refuse("slots", c.Slots, "at most %d of %d bytes each", maxMemory/c.Frame, c.Frame)
	case !(c.SlowWriter >= 0 && c.SlowWriter <= 1):
		return refuse("slow-writer", c.SlowWriter, "0 to 1")
	case c.Duration < minDuration || c.Duration > maxDuration:
		return refuse("duration", c.Duration, "%v to %v", minDuration, maxDuration)
	}
	return nil
}

// forced reports whether a run is hard enough that each fault must show: if an unsafe
// design shows none then, the run or the claim is wrong.
func (c *Config) forced() bool {
	return c.Writers >= 2 && c.Writers <= 16 && c.Slots >= 2 && c.Slots <= 8 &&
		c.Frame <= 64<<10 && c.SlowWriter >= 0.01 && c.SlowWriter <= 0.25 && c.Duration >= 400*time.Millisecond
}
