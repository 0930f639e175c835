//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/shortcall"
)

// write is not trapped: what the program writes to the stand-in arrives at our end, and
// is sent from there. The call has returned by then, so why a frame is refused can only
// be logged. If the device has no room for a frame, we hold it, and the program's next
// writes wait in the pair, or in the kernel once that is full.

// maxWritten bounds the frames that are sent of one socket before others are served. A
// pair holds fewer (net.unix.max_dgram_qlen: 10, or systemd's 512), so all that a
// thread wrote before its call is among them.
const maxWritten = 1024

// sendWritten sends what the program wrote, and returns the number of frames.
func (p *packetSocket) sendWritten() (n int) {
	if p.held != nil {
		if !p.sendFrame(p.held) {
			return 0
		}
		p.held = nil
	}
	for n < maxWritten {
		size, err := shortcall.Recv(p.waker.end, p.s.frame, unix.MSG_TRUNC)
		if err != nil {
			return n
		}
		n++
		if p.errorShown {
			p.showError(p.backend.Events()) // the write before this one has returned it
		}
		if size > len(p.s.frame) { // net.core.wmem_default was raised
			p.notSent(unix.EMSGSIZE)
			continue
		}
		if frame := p.s.frame[:size]; !p.sendFrame(frame) {
			p.held = slices.Clone(frame)
			return n
		}
	}
	p.s.pairs.rearm(p.waker.end, p.watched())
	return n
}

// sendFrame sends a frame that was written; not ok means that there is no room for it
// now.
func (p *packetSocket) sendFrame(frame []byte) (ok bool) {
	_, err := p.backend.Send(frame)
	if errors.Is(err, unix.EAGAIN) {
		p.s.waiting.framesHeld = true
		return false
	}
	if err != nil {
		p.notSent(err)
	}
	return true
}

// notSent logs why a frame was not sent, once for each socket.
func (p *packetSocket) notSent(err error) {
	if !p.unsent {
		p.unsent = true
		p.s.warnf("write to a packet socket: %v", err)
	}
}

// sendHeld sends what sockets hold.
func (s *session) sendHeld() {
	s.waiting.framesHeld = false
	for _, p := range s.sockets.open {
		if p.held != nil {
			p.sendWritten()
		}
	}
}
