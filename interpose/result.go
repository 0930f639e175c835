package interpose

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Result says how the program ended and what its packet sockets did.
type Result struct {
	ExitCode int            // -1 when a signal ended the program
	Signal   syscall.Signal // 0 when it exited

	// Interrupted means that SIGINT was sent because of [Config.Interrupt].
	Interrupted bool

	// Sockets has a report for each of the first 1024 packet sockets, in the order in which
	// they were made; Omitted counts the others.
	Sockets []SocketReport
	Omitted int

	// Missing lists the devices, by name or as "index 7", that the program asked for and
	// that the namespace does not have, in the order in which it asked.
	Missing []string
}

// SocketReport says what one packet socket did.
type SocketReport struct {
	Type   rxring.SockType
	Device string // the one that it was last bound to; empty: all
	Totals ring.Totals
	Sent   uint64 // frames that it sent

	// Interim is the part of Totals.Filtered that was refused by a filter that accepts
	// nothing and was replaced later. libpcap sets one while it prepares a capture.
	Interim uint64

	// SentThrough names the devices through which it sent, separated by ", ". A socket that
	// is bound to no device names one in each send.
	SentThrough string

	// Unknown means that Totals and Sent are not known: the other process, which counts,
	// ended before the socket was closed.
	Unknown bool

	// HadRing reports whether the socket ever had a receive ring. Geometry is that of the
	// last one, its Version included.
	HadRing  bool
	Geometry tpacket.Geometry

	// Longest is the length in bytes of the longest packet that was in a ring of slots (V1,
	// V2) at the end, if the ring dropped some; 0: unknown. It is a hint for people: the
	// program can write to the ring.
	Longest uint32
}

func (r SocketReport) String() string {
	device := r.Device
	if device == "" {
		device = "all devices"
	}
	if !r.HadRing {
		return device + ": no ring"
	}
	if r.Unknown {
		return fmt.Sprintf("%s: %v ring of %d x %d bytes, counts unknown", device, r.Geometry.Version, r.Geometry.FrameNr, r.Geometry.FrameSize)
	}
	return fmt.Sprintf("%s: %v ring of %d x %d bytes, %d captured, %d dropped, %d filtered",
		device, r.Geometry.Version, r.Geometry.FrameNr, r.Geometry.FrameSize,
		r.Totals.Captured, r.Totals.Dropped(), r.Totals.Filtered)
}

// unsupportedError means that this system cannot interpose.
type unsupportedError struct {
	feature string // what is missing or refused
	since   string // the Linux version that has it
	err     error  // the error of trying it
}

func (e *unsupportedError) Error() string {
	return fmt.Sprintf("interpose: this system refuses %s (Linux %s and later have it): %v: in a container, allow seccomp in its seccomp profile; gVisor does not have it", e.feature, e.since, e.err)
}

func (e *unsupportedError) Unwrap() []error { return []error{errors.ErrUnsupported, e.err} }
