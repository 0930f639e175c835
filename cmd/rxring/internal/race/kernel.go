package race

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rxring/rxring/tpacket"
)

// KernelConfig configures a run on the kernel's ring: see [DefaultKernel].
type KernelConfig struct {
	Writers  int  // TCP connections over loopback
	Blocks   bool // a ring of TPACKET_V3, not V2
	Slots    int  // or blocks
	Frame    int  // bytes each
	Duration time.Duration

	// Progress, when not nil, is called now and then with the fraction that is done.
	Progress func(done float64)
}

// DefaultKernel is few slots, large enough for the largest segments that
// loopback carries.
func DefaultKernel() KernelConfig {
	return KernelConfig{Writers: 4, Slots: 2, Frame: 68 << 10, Duration: 3 * time.Second}
}

func (c *KernelConfig) check() error {
	if page := os.Getpagesize(); c.Frame%page != 0 {
		return &ConfigError{"frame", c.Frame, fmt.Sprintf("a multiple of the page size, %d", page)}
	}
	all := Config{Writers: c.Writers, Slots: c.Slots, Frame: c.Frame, Duration: c.Duration}
	return all.check()
}

// KernelReport is the result of a run on the kernel's ring.
type KernelReport struct {
	Kernel     string   `json:"kernel"`  // its release
	Version    string   `json:"version"` // of the ring: V2 or V3
	OK         bool     `json:"ok"`
	EndedEarly bool     `json:"ended_early"`
	Writers    int      `json:"writers"`
	Slots      int      `json:"slots"`
	FrameBytes int      `json:"frame_bytes"`
	Seconds    float64  `json:"seconds"`
	Packets    uint64   `json:"packets"`         // read from the ring
	Content    uint64   `json:"content_packets"` // of them with content, which were checked
	Bytes      uint64   `json:"content_bytes"`
	Largest    int      `json:"largest_packet"`
	Wraps      uint64   `json:"wraps"` // times around the ring
	Dropped    uint64   `json:"dropped"`
	Torn       uint64   `json:"torn"`
	Tears      []string `json:"tears,omitempty"` // the first few
}

// WriteText writes the report in a few lines.
func (r *KernelReport) WriteText(w io.Writer) error {
	unit := "slot"
	if r.Version == tpacket.V3.String() {
		unit = "block"
	}
	fmt.Fprintf(w, "kernel %s: TPACKET_%s ring of %s of %d bytes, %s over loopback, %.1f s\n",
		r.Kernel, r.Version, count(r.Slots, unit), r.FrameBytes, count(r.Writers, "TCP connection"), r.Seconds)
	if r.EndedEarly {
		fmt.Fprintln(w, "ended early: the results so far")
	}
	fmt.Fprintf(w, "packets=%d wraps=%d dropped=%d checked=%d bytes=%d largest=%d torn=%d\n",
		r.Packets, r.Wraps, r.Dropped, r.Content, r.Bytes, r.Largest, r.Torn)
	for _, t := range r.Tears {
		fmt.Fprintln(w, t)
	}
	verdict := "this kernel lets two writers into one slot: it lacks the fix that Linux has since 5.6"
	switch {
	case r.Torn == 0 && r.Content == 0:
		verdict = "nothing was checked: no packet with content came"
	case unit == "block" && r.Torn > 0:
		verdict = "this kernel hands over blocks that are still being written"
	case unit == "block":
		verdict = fmt.Sprintf("none torn in %d packets and %d wraps", r.Packets, r.Wraps)
	case r.Torn == 0:
		verdict = fmt.Sprintf("none torn in %d packets and %d wraps: as a kernel with the fix, which Linux has since 5.6", r.Packets, r.Wraps)
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}

// NamespaceError is the error of a process that may not create a network namespace. It
// says how to allow that.
type NamespaceError struct {
	Err  error
	Hint string
}

func (e *NamespaceError) Error() string { return fmt.Sprintf("%v: %s", e.Err, e.Hint) }

func (e *NamespaceError) Unwrap() error { return e.Err }
