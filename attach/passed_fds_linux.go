package attach

import (
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Another process can delay the close of a descriptor that it sent (SCM_RIGHTS) as long as it
// likes, and a process that discards a message closes the descriptors in it:
//
//   - The last close of a TCP socket with SO_LINGER waits until its data is acknowledged. A
//     signal interrupts it.
//   - close(2) of a file on a FUSE file system waits for its server, and cannot be
//     interrupted. The kernel's own closes do not wait.
//
// So no process can send descriptors before it is admitted (SO_PASSRIGHTS, Linux 6.16). On
// earlier systems discard closes them and interrupts what waits. From an admitted user all
// are received, and unexpected ones are closed by closeAsync.

// refuseRights sets whether a socket, or those that connect to a listening one, drop the
// descriptors that are sent to it. It returns false if this kernel cannot do that.
func refuseRights(fd int, on bool) bool {
	pass := 1
	if on {
		pass = 0
	}
	return !withoutPassRights && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, pass) == nil
}

// withoutPassRights makes refuseRights act as before Linux 6.16. Tests set it.
var withoutPassRights bool

// interruptEvery is how often a thread that closes descriptors is interrupted, from its
// start.
const interruptEvery = 5 * time.Millisecond

// interruptibly calls f, a system call that closes other processes' descriptors, and
// interrupts it every interruptEvery.
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

// discard closes a connection and the messages in its receive queue, without waiting for
// other processes.
func discard(fd int) { interruptibly(func() { closeFD(fd) }) }

// closeAndDiscard is discard for a connection of package net, which may close its descriptor
// on any goroutine.
func closeAndDiscard(c *net.UnixConn) {
	last := duplicate(c)
	c.Close()
	discard(last)
}

// duplicate duplicates c's descriptor; -1: an error.
func duplicate(c syscall.Conn) int {
	fd := -1
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(of uintptr) { fd, _ = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	}
	return fd
}

// closeAsync closes descriptors that a peer has sent. It waits only while maxClosing others
// of the user are being closed.
func (p *peer) closeAsync(fds ...int) {
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil {
			closeFD(fd) // a memfd
			continue
		}
		select {
		case p.user.closing <- struct{}{}:
			go func() {
				discard(fd)
				<-p.user.closing
			}()
		case <-p.server.ctx.Done():
			return // left open: the process is about to end, or has many descriptors to spare
		}
	}
}

// oobLen is the length of control messages with the most descriptors that a message can hold
// (SCM_MAX_FD), and oobLenForOne with one. The kernel discards what does not fit.
var (
	oobLen       = unix.CmsgSpace(4 * 253)
	oobLenForOne = unix.CmsgSpace(4)
)

func rights(fd int) []byte { return unix.UnixRights(fd) }

// parseRights returns the descriptors in control messages. They were received with
// MSG_CMSG_CLOEXEC.
func parseRights(oob []byte) (fds []int) {
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

// parseOneRight is parseRights for a message with at most one descriptor; -1: none.
func parseOneRight(oob []byte) int {
	one := -1
	for _, fd := range parseRights(oob) {
		closeFD(one)
		one = fd
	}
	return one
}

// refuseRights makes new connections drop descriptors until they are admitted.
func (s *Server) refuseRights(listener syscall.RawConn) {
	listener.Control(func(fd uintptr) { s.refusesRights = refuseRights(int(fd), true) })
}
