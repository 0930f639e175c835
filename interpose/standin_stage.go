//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// read is not trapped: it gets what lies in the stand-in. So of a socket without a
// ring a copy of the first packet in the queue lies there, and makes the stand-in
// readable. It is called staged. The packet itself leaves the queue when its copy
// turns out to have been read.

// stage makes the stand-in of a socket without a ring as readable as its queue
// is.
func (k *socket) stage() {
	ev := k.rx.armedEvents(&k.comes)
	if k.showError(ev) {
		return
	}
	k.settle()
	if k.staged && k.deaf {
		k.unstage() // once more: it is an edge
	}
	k.deaf = false
	if !k.staged && ev&rxring.EventIn != 0 {
		k.put()
	}
}

// put stages the first packet.
func (k *socket) put() {
	b, ok := k.first()
	if !ok {
		return
	}
	if k.waker.send(b) != nil && k.waker.send(nil) != nil { // too long for the pair
		return
	}
	k.staged = true
}

// settle finds out whether what was staged has been read.
func (k *socket) settle() {
	if k.staged && !k.signalled() {
		k.taken()
	}
}

// taken has the packet that was read leave the queue.
func (k *socket) taken() {
	k.rx.Discard()
	k.staged = false
}

// unstage takes the staged packet back. If it has been read it leaves the queue.
func (k *socket) unstage() {
	if k.staged && k.drain(1<<20) == 0 {
		k.taken()
	}
	k.staged = false
}

// first is a copy of the first packet in the queue.
func (k *socket) first() ([]byte, bool) {
	_, b, err := k.s.look(k.rx.Peek, maxRW)
	return b, err == nil || errnoOf(err) == unix.EINVAL
}

// comes has the session stage a packet that comes. Writers call Wake.
type comes struct {
	rung atomic.Bool
	news *bell
}

// Wake implements ring.Waker.
func (w *comes) Wake() {
	w.rung.Store(true)
	w.news.Wake()
}

// arrived attends to the sockets without a ring that a packet came to.
func (s *session) arrived() {
	for _, k := range s.sockets {
		if k.comes.rung.Swap(false) && !k.ringed && !k.muted {
			if k.showError(k.rx.Events()) {
				continue
			}
			if k.settle(); k.staged && k.edges {
				// Once more: each packet is an edge. In between a poll that does
				// not wait may find nothing.
				k.unstage()
				k.put()
				k.deaf = true // until it is armed again
			}
			if !k.staged {
				k.stage()
			}
		}
	}
}

// pairs is an epoll set that tells of what programs read from stand-ins, and write
// to them.
type pairs struct{ fd int }

func newPairs() (pairs, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return pairs{fd}, err
}

// watch has the kernel tell when something is taken out of k's stand-in: then
// there is room again at the other end; and when something comes out there.
func (p pairs) watch(k *socket) {
	if err := p.add(k.waker.end, unix.EPOLLIN); err != nil {
		k.s.cfg.logf("packet socket: %v: what is written to it will not be sent", err)
	}
}

// add has the kernel tell when there is room again at an end of ours, or when
// one of more happens to it.
func (p pairs) add(end int, more uint32) error {
	return p.ctl(unix.EPOLL_CTL_ADD, end, more)
}

// again has it tell once more of what add was to tell of, if it is so still.
func (p pairs) again(end int, more uint32) { p.ctl(unix.EPOLL_CTL_MOD, end, more) }

func (p pairs) ctl(op, end int, more uint32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLOUT | more | 1<<31, Fd: int32(end)} // EPOLLET
	return unix.EpollCtl(p.fd, op, end, &ev)
}

// remove ends that, before the end is closed: while we start a process it is a
// copy of the end that is left, and what happens to it is not for who has the
// number next.
func (p pairs) remove(end int) { unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, end, nil) }

// attend stages the next packet where one was read, sends what was written, and
// lets rtnetlink sockets see to what happened to them.
func (p pairs) attend(s *session) {
	var evs [32]unix.EpollEvent
	n, _ := unix.EpollWait(p.fd, evs[:], 0)
	for _, ev := range evs[:max(n, 0)] {
		for _, r := range s.rtnls {
			if r.end == int(ev.Fd) {
				r.event(ev.Events)
				break
			}
		}
		i := slices.IndexFunc(s.sockets, func(k *socket) bool { return k.waker.end == int(ev.Fd) })
		if i < 0 {
			continue
		}
		k := s.sockets[i]
		k.sendWritten()
		if k.staged && !k.muted && !k.signalled() {
			k.refresh()
		}
	}
}
