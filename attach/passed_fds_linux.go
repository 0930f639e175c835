package attach

import (
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// To close a descriptor that another process sent (SCM_RIGHTS) may take as long as that
// process likes, and whoever discards a message closes the descriptors in it:
//
//   - The last close of a TCP socket with SO_LINGER waits for its data to be acknowledged.
//     A signal ends that.
//   - close(2) of a file on a FUSE file system waits for its server. Nothing ends that. It is
//     not so for descriptors that the kernel discards.
//
// So nobody can send descriptors to us until it is admitted (SO_PASSRIGHTS, Linux 6.16).
// On earlier systems discard discards them, and interrupts what waits. An admitted user's
// are received, all of them, and those that no client of ours sends are closed apart.

// refuseRights has what is sent to a socket hold no descriptors, and to those that connect to
// it if it listens; or not, if on is false. It reports whether this system can do that.
func refuseRights(fd int, on bool) bool {
	pass := 1
	if on {
		pass = 0
	}
	return !withoutPassRights && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, pass) == nil
}

// withoutPassRights has refuseRights do what it does before Linux 6.16. Tests change it.
var withoutPassRights bool

// interruptEvery is how often a thread is interrupted that discards descriptors, and how long
// it may take before it is.
const interruptEvery = 5 * time.Millisecond

// interruptibly calls f, a system call that discards other processes' descriptors, and has
// nothing in it wait for longer than interruptEvery.
func interruptibly(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := unix.Getpid(), unix.Gettid()
	var done atomic.Bool
	var t *time.Timer
	armed := make(chan struct{})
	t = time.AfterFunc(interruptEvery, func() {
		<-armed
		if !done.Load() {
			unix.Tgkill(pid, tid, unix.SIGURG) // which the runtime expects at any time
			t.Reset(interruptEvery)
		}
	})
	close(armed)
	f()
	done.Store(true)
	t.Stop()
}

// discard closes a connection, with what was sent to it. It does not wait for anybody.
func discard(fd int) { interruptibly(func() { closeFD(fd) }) }

// closeAndDiscard is discard for a connection of package net, whose last close may be on
// any goroutine.
func closeAndDiscard(c *net.UnixConn) {
	last := duplicate(c)
	c.Close()
	discard(last)
}

// duplicate returns another descriptor of c, -1 if there is none.
func duplicate(c syscall.Conn) int {
	fd := -1
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(of uintptr) { fd, _ = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	}
	return fd
}

// closeApart closes descriptors that a peer has sent. It waits for none of them, unless
// maxApart others of the user are being closed.
func (p *peer) closeApart(fds ...int) {
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil {
			closeFD(fd) // a memfd
			continue
		}
		select {
		case p.user.apart <- struct{}{}:
			go func() {
				discard(fd)
				<-p.user.apart
			}()
		case <-p.server.open.Done():
			return // the process ends, or has many left
		}
	}
}

// oobRoom is for as many descriptors as a message can hold (SCM_MAX_FD). One that is
// expected to hold one at most needs no more than oobRoomForOne: what more comes is
// discarded by the kernel.
var (
	oobRoom       = unix.CmsgSpace(4 * 253)
	oobRoomForOne = unix.CmsgSpace(4)
)

func rights(fd int) []byte { return unix.UnixRights(fd) }

// takeRights returns the descriptors in control messages. The runtime has asked for
// MSG_CMSG_CLOEXEC.
func takeRights(oob []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds
}

// takeOne is takeRights for a message with one descriptor at most, -1 for none.
func takeOne(oob []byte) int {
	one := -1
	for _, fd := range takeRights(oob) {
		closeFD(one)
		one = fd
	}
	return one
}

// refuseRights has connections to come hold no descriptors until they are admitted.
func (s *Server) refuseRights(listener syscall.RawConn) {
	listener.Control(func(fd uintptr) { s.refuses = refuseRights(int(fd), true) })
}
