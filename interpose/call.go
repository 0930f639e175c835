//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/seccomp"
)

// call is one notification while it is handled, and while the call waits.
type call struct {
	seccomp.Notification
	s     *session
	entry *syscallEntry
	tid   int

	// What is at the descriptor that the call names, if it is a socket of ours.
	packet *packetSocket
	rtnl   *rtnlSocket

	mem int // a descriptor of the process's memory, -1: not opened

	// wokenByUs is set when we have changed the thread's descriptors since it made the call:
	// see signalPending.
	wokenByUs bool

	hidden   bool  // we were not allowed to inspect a descriptor
	hiddenFD int32 // which one; -1: it was the memory
}

// reply is what a handler decides.
type reply struct {
	kind replyKind
	val  int64
	err  unix.Errno
}

type replyKind uint8

const (
	runNatively replyKind = iota // the kernel runs the call as the program made it
	returnValue                  // the call returns val, or err if that is not 0
	sendNothing                  // nothing is to be sent: the call has its answer, or waits
)

var (
	native   = reply{kind: runNatively}
	answered = reply{kind: sendNothing}
	waits    = reply{kind: sendNothing}
)

func value(n int64) reply         { return reply{kind: returnValue, val: n} }
func fail(errno unix.Errno) reply { return reply{kind: returnValue, err: errno} }

// result is 0, or the errno in err.
func result(err error) reply { return valueOr(0, err) }

// valueOr is n, or the errno in err.
func valueOr(n int64, err error) reply {
	if err != nil {
		return fail(errnoOf(err))
	}
	return value(n)
}

// errnoOf is the errno in an error, EINVAL if there is none.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EINVAL
}

// handle serves a notification: before, the handler of the table, after.
func (s *session) handle(n seccomp.Notification) {
	c := &call{Notification: n, s: s, entry: syscallByNumber[n.NR], tid: int(n.TID), mem: -1}
	defer c.release()
	r, done := c.before()
	if !done {
		r = c.serve()
	}
	c.after(r)
}

// before does what is due before any call of the program is served. done means that r
// is the answer already.
func (c *call) before() (r reply, done bool) {
	if c.entry == nil { // not in the table: the filter does not trap it
		return native, true
	}
	c.putStandInsBack() // where the thread's descriptors are ring memory
	if r, ok := c.replay(); ok {
		return r, true
	}
	c.findSocket()
	if p := c.packet; p != nil {
		p.sendWritten() // frames that were written before this call
		if p.errorShown {
			p.showError(p.backend.Events()) // read or write may have returned it
		}
	}
	return reply{}, false
}

// findSocket finds out which socket of ours is at the descriptor that the call names.
func (c *call) findSocket() {
	if c.entry.fd == none || len(c.s.sockets.open) == 0 && len(c.s.rtnl.open) == 0 {
		return
	}
	fd := c.int(c.entry.fd)
	if fd < 0 {
		return
	}
	d, err := c.descriptor(fd)
	if err != nil {
		return
	}
	if c.packet, _ = c.s.sockets.at(d); c.packet != nil {
		c.packet.seenAt(c.tid, fd)
		return
	}
	c.rtnl = c.s.rtnl.open[d.inode]
}

// serve calls the handler.
func (c *call) serve() reply {
	switch e := c.entry; {
	case c.packet != nil && e.packet != nil:
		return e.packet(c, c.packet)
	case c.rtnl != nil && e.rtnl != nil:
		return e.rtnl(c, c.rtnl)
	case e.other != nil:
		return e.other(c)
	}
	return native
}

// after answers the call with r, at once or when it has waited.
func (c *call) after(r reply) {
	r = c.unlessHidden(r)
	var err error
	switch {
	case r.kind == sendNothing:
		return
	case r.kind == runNatively:
		err = c.s.l.Continue(c.ID)
	case r.err != 0:
		err = c.s.l.Fail(c.ID, r.err)
	default:
		err = c.s.l.Return(c.ID, r.val)
	}
	c.s.replays.answered(c, r, errors.Is(err, unix.ENOENT))
}

func (c *call) int(i int) int32 { return int32(c.Args[i]) }

// valid reports whether the call still waits for its answer. Then everything that was
// read of the thread until now was the caller's. The package's documentation says where
// that must be checked.
func (c *call) valid() bool { return c.s.l.Valid(c.ID) }
