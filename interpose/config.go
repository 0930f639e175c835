package interpose

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Config says what to run on what. Args must be set, and one of Namespace and At.
type Config struct {
	// Namespace serves the program's packet sockets. Devices may be added to it
	// while the program runs.
	Namespace *rxring.Namespace

	// At does so in the place of Namespace: another process's namespace. It stays
	// open when Run returns. When the connection ends before the program does,
	// devices are gone and sockets fail with ENETDOWN.
	At *attach.Client

	// Args is the program, looked up in PATH, and its arguments.
	Args []string

	Env []string // environment; nil: this process's
	Dir string   // working directory; empty: this process's

	// NoMlock has the program's mlock, mlock2 and mlockall return 0 and lock
	// nothing, for those that insist and whose user may not (netsniff-ng). Not for
	// programs that keep secrets.
	NoMlock bool

	// NoProcNet has the program find the system's devices in /proc/net and
	// /sys/class/net. Only then is opening a file to read it left to the kernel: it is
	// some microseconds faster, and a signal cannot end it with EINTR.
	NoProcNet bool

	// KeepUser has the calls by which the program changes its user and groups
	// (setuid, setgroups, ...) return 0 and do nothing. Root without CAP_SYS_PTRACE,
	// as in a container, needs it for a program that gives up root and forks then:
	// Linux does not let rxring inspect the child.
	KeepUser bool

	// Stdin, Stdout and Stderr are inherited as they are, terminals included;
	// nil: this process's.
	Stdin, Stdout, Stderr *os.File

	// Interrupt has, for each value that is received from it, the processes that hold
	// packet sockets get SIGINT, as from Ctrl-C: for devices that will deliver nothing
	// more. Programs then print their summaries and end. It must not be closed. Nil:
	// never.
	Interrupt <-chan struct{}

	// Logf reports, in one line, what the program's user should know: a ring
	// that was refused for want of memory, a program that cannot be looked
	// into. Nil: nobody is told. It is not called by two goroutines at a time.
	Logf func(format string, args ...any)
}

// Result is how the program ended and what its packet sockets did.
type Result struct {
	ExitCode int            // -1 when a signal ended the program
	Signal   syscall.Signal // 0 when it exited
	CoreDump bool

	// Interrupted says that SIGINT was sent because of [Config.Interrupt].
	Interrupted bool

	// Sockets has a report for each packet socket, in the order of their
	// making; Omitted counts those beyond the first MaxReports.
	Sockets []SocketReport
	Omitted int

	// Missing lists the devices, by name or as "index 7", that the program
	// asked for and the namespace does not have, in the order of asking.
	Missing []string
}

// MaxReports bounds [Result.Sockets].
const MaxReports = 1024

// SocketReport is the life of one packet socket.
type SocketReport struct {
	Type   rxring.SockType
	Device string // the one it was last bound to; empty: all
	Totals ring.Totals
	Sent   uint64 // frames that left

	// Interim is how many of Totals.Filtered were refused by a filter that accepts nothing
	// and was replaced later. libpcap sets one while it prepares a capture.
	Interim uint64

	// SentThrough names the devices that frames left through, separated by ", ". A socket
	// that is bound to no device names one in each send.
	SentThrough string

	// Unknown says that Totals and Sent are not known: the other process, which
	// counts, was gone before the socket was closed.
	Unknown bool

	// HadRing says whether a receive ring was ever set. Geometry is the last
	// one's, its Version included.
	HadRing  bool
	Geometry tpacket.Geometry

	// Longest is the length in bytes of the longest packet that lay in a ring of slots
	// (V1, V2) at its end, if some were dropped; 0: it is not known. The program can
	// write to the ring: it is a hint for a person.
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

// UnsupportedError is a system that cannot interpose.
type UnsupportedError struct {
	Feature string // what is missing or refused
	Since   string // the Linux version that has it
	Err     error  // what trying it gave
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("interpose: this system refuses %s (Linux %s and later have it): %v: in a container, allow seccomp in its seccomp profile; gVisor does not have it", e.Feature, e.Since, e.Err)
}

func (e *UnsupportedError) Unwrap() error { return e.Err }

// check refuses what cannot be run.
func (c *Config) check() error {
	if (c.Namespace == nil) == (c.At == nil) || len(c.Args) == 0 {
		return errors.New("interpose: Config: want either a Namespace or At, and at least one of Args")
	}
	return nil
}

// namespace is where devices are looked up.
func (c *Config) namespace() *rxring.Namespace {
	if c.At != nil {
		return c.At.Namespace()
	}
	return c.Namespace
}

func (c *Config) logf(format string, args ...any) {
	if c.Logf != nil {
		c.Logf(format, args...)
	}
}
