//go:build linux && (amd64 || arm64)

package interpose

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// waker makes a stand-in readable. Writers call Wake, any goroutine.
type waker struct {
	mu     sync.Mutex // held for one system call at most: a writer may wait for it
	end    int        // -1: closed
	queued int        // datagrams sent and not taken back
	called uint64     // times that writers called Wake
	hushed bool       // an error shows, and nothing else
}

// Wake implements ring.Waker.
func (w *waker) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.called++
	w.sendLocked(nil)
}

// send sends a datagram.
func (w *waker) send(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sendLocked(b)
}

func (w *waker) sendLocked(b []byte) error {
	if w.end < 0 || w.hushed {
		return unix.EBADF
	}
	err := unix.Send(w.end, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err == nil {
		w.queued++
	}
	return err
}

func (w *waker) open(fd int) {
	w.mu.Lock()
	w.end, w.queued = fd, 0
	w.mu.Unlock()
}

func (w *waker) close() {
	w.mu.Lock()
	unix.Close(w.end)
	w.end = -1
	w.mu.Unlock()
}

func (w *waker) hush() {
	w.mu.Lock()
	w.hushed = true
	w.mu.Unlock()
}

func (w *waker) speak() {
	w.mu.Lock()
	w.hushed, w.queued = false, 0
	w.mu.Unlock()
}

// taken returns the count of datagrams sent and starts over.
func (w *waker) taken() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.queued
	w.queued = 0
	return n
}

// times is how often writers have woken it so far.
func (w *waker) times() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.called
}

// maxQueued keeps empty datagrams below net.unix.max_dgram_qlen, which is 10
// unless somebody changed it.
const maxQueued = 4

// refresh makes the stand-in as readable as the ring, and has the next packet
// wake it. The kernel's own queue is the state: the program may have taken
// datagrams out of it.
//
// It asks to be woken even while the ring is readable, because Linux reports
// each new packet to who waits for edges. Packets that came between the last
// wake-up and this call have woken nobody: they are an edge now.
//
// While an error is pending that is all there is to see.
func (k *socket) refresh() {
	if !k.ringed {
		k.stage()
		return
	}
	for {
		before := k.waker.times()
		ev := k.rx.armedEvents(&k.waker)
		switch {
		case k.showError(ev):
			return
		case ev&rxring.EventIn != 0:
			k.signal(k.edges && before != k.woken)
			k.woken = before // what a writer has woken since, and what came after that, is for the next call
			return
		}
		k.drain(1 << 20)
		k.waker.taken()
		if k.waker.times() == before {
			k.woken = before
			return
		}
		// A packet came, and its datagram may be among those taken out.
	}
}

// signal makes the stand-in readable. With edge, who waits for edges is told, too.
func (k *socket) signal(edge bool) {
	if !k.signalled() {
		k.waker.taken()
		k.waker.send(nil)
		return
	}
	if edge {
		k.waker.send(nil)
	}
	if n := k.waker.taken(); n > maxQueued {
		k.waker.send(nil) // first, so that it is readable all the time
		k.drain(n)
		if !k.signalled() {
			k.waker.send(nil)
		}
	} else {
		k.waker.put(n)
	}
}

func (w *waker) put(n int) {
	w.mu.Lock()
	w.queued += n
	w.mu.Unlock()
}

func (k *socket) signalled() bool { return k.polled()&unix.POLLIN != 0 }

// polled is what poll reports of the stand-in.
func (k *socket) polled() int16 {
	p := []unix.PollFd{{Fd: int32(k.end), Events: unix.POLLIN}}
	unix.Poll(p, 0)
	return p[0].Revents
}

// drain takes datagrams out of the stand-in and says how many there were.
func (k *socket) drain(most int) (n int) {
	var b [1]byte
	for ; n < most; n++ {
		if _, _, err := unix.Recvfrom(k.end, b[:], unix.MSG_DONTWAIT); err != nil {
			break
		}
	}
	return n
}
