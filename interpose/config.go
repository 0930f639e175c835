package interpose

import (
	"errors"
	"log/slog"
	"os"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

// Config says which program to run, and what serves it. Args must be set, and either
// Namespace or At.
type Config struct {
	// Namespace serves the program's packet sockets. Devices may be added to it while
	// the program runs.
	Namespace *rxring.Namespace

	// At serves them from another process's namespace. It stays open when Run returns.
	// When the connection ends before the program does, its devices are removed and
	// sockets fail with ENETDOWN.
	At *attach.Client

	// Refused is the error of the program's calls of socket for AF_PACKET, which return its
	// errno; nil: they create sockets.
	Refused error

	// Args is the program, which is looked up in PATH, and its arguments.
	Args []string

	Env []string // environment; nil: this process's
	Dir string   // working directory; empty: this process's

	// NoMlock makes the program's mlock, mlock2 and mlockall return 0 and lock nothing,
	// for programs that insist on them but whose user may not lock memory (netsniff-ng).
	// It is wrong for programs that keep secrets.
	NoMlock bool

	// NoProcNet lets the program read the system's devices in /proc/net and
	// /sys/class/net. Opening a file to read it is then left to the kernel: it is some
	// microseconds faster, and a signal cannot end it with EINTR.
	NoProcNet bool

	// KeepUser makes the calls by which the program changes its user and groups (setuid,
	// setgroups, ...) return 0 and do nothing. Root without CAP_SYS_PTRACE, as in a
	// container, needs it for a program that gives up root and then forks: Linux does not
	// let rxring inspect the child.
	KeepUser bool

	// Stdin, Stdout and Stderr are inherited as they are, terminals included; nil: this
	// process's.
	Stdin, Stdout, Stderr *os.File

	// Interrupt sends SIGINT, as Ctrl-C does, to the processes that hold packet sockets,
	// for each value that is received from it. It is for devices that will deliver
	// nothing more: programs then print their summaries and end. It must not be closed.
	// Nil: never.
	Interrupt <-chan struct{}

	// Logger gets a warning, of one line, for each problem that the program's user should
	// know about: a ring that was refused for lack of memory, a program that cannot be
	// inspected. Nil: they are discarded.
	Logger *slog.Logger
}

// check returns an error for a Config that is incomplete.
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

func (c *Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}
