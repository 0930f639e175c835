package hostile

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// packetsPerSecond is what the sender sends.
	packetsPerSecond = 20_000

	// maxBurst is how many packets it sends at once to make up for lost time.
	maxBurst = 100
)

// sender sends packets at a steady rate.
type sender struct {
	fd     int // an AF_PACKET socket, bound
	packet []byte
	phase  atomic.Uint32
	stop   atomic.Bool
	done   chan struct{}

	sent [phases]uint64 // in each phase; for who has read done
	err  error
}

func startSender(fd int, packet []byte) *sender {
	s := &sender{fd: fd, packet: slices.Clone(packet), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer setPriority(priority)()
		s.err = s.run()
	}()
	return s
}

func (s *sender) run() error {
	const interval = time.Second / packetsPerSecond
	number := uint32(0)
	for due := now(); !s.stop.Load(); {
		t := now()
		// Who was kept from its processor sends less, not all at once.
		due = max(due, t-maxBurst*interval)
		for ; due <= t; due += interval {
			in := phase(s.phase.Load())
			trailer{number, in, now()}.put(s.packet)
			for {
				err := unix.Send(s.fd, s.packet, 0)
				if err == nil {
					break
				}
				if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
					return err
				}
			}
			number++
			s.sent[in]++
		}
		time.Sleep(due - now())
	}
	return nil
}

func (s *sender) enter(p phase) { s.phase.Store(uint32(p)) }

// end ends it, and returns how many packets it sent.
func (s *sender) end() (total uint64, err error) {
	s.stop.Store(true)
	<-s.done
	for _, n := range s.sent {
		total += n
	}
	return total, s.err
}
