package attach_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// A poll that finds the ring empty does not wait for the server. No packet may be missed by it,
// neither one that arrives while it arms, nor one that arrives while it looks.
func TestNoPacketIsMissedByAPollOfAnEmptyRing(t *testing.T) {
	o := listen(t, attach.Config{})
	s := socket(t, o.dial(t), rxring.SockRaw)
	rd, _ := setRing(t, s, slots)
	bind(t, s, 7)
	const packets = 20000
	got := make(chan struct{}, 64) // fewer than the ring's slots
	var delivering sync.WaitGroup
	delivering.Go(func() {
		for i := range packets {
			got <- struct{}{}
			o.dev.Deliver(&rxring.Packet{Data: frame(i, 64)})
		}
	})
	defer delivering.Wait()
	w := make(bell, 1)
	var f ring.Frame
	for n := 0; n < packets; {
		for rd.Advance(&f) {
			n++
			<-got
		}
		if n == packets {
			break
		}
		if e, _, _ := s.Poll(w); e == 0 {
			select {
			case <-w:
			case <-time.After(30 * time.Second):
				t.Fatalf("asleep after %d of %d packets", n, packets)
			}
		}
	}
}

// A pending error is no packet: the ring does not show it.
func TestAPollOfAnEmptyRingReturnsAnError(t *testing.T) {
	for what, armed := range map[string]bool{"armed": true, "not armed": false} {
		t.Run(what, func(t *testing.T) {
			o := listen(t, attach.Config{})
			s := socket(t, o.dial(t), rxring.SockRaw)
			setRing(t, s, slots)
			bind(t, s, 7)
			w := make(bell, 1)
			if armed {
				if e, _, _ := s.Poll(w); e != 0 {
					t.Fatalf("events %#x of an empty ring", e)
				}
			}
			o.dev.SetUp(false)
			o.dev.SetUp(true)
			for e := rxring.Events(0); e != rxring.EventErr; {
				if e, _, _ = s.Poll(w); e == 0 {
					w.wait(t)
				}
			}
			if e, _, _ := s.Poll(w); e != rxring.EventErr {
				t.Errorf("events %#x: want an error until it is read", e)
			}
			if soError(t, s) == 0 {
				t.Error("no error in SO_ERROR")
			}
			for range 2 {
				if e, _, _ := s.Poll(w); e != 0 {
					t.Errorf("events %#x after the error was read", e)
				}
			}
			o.dev.Deliver(&rxring.Packet{Data: frame(0, 64)})
			if e, _, _ := s.Poll(w); e != rxring.EventIn {
				t.Errorf("events %#x with a packet in the ring", e)
			}
		})
	}
}

func soError(t testing.TB, s *attach.Socket) uint32 {
	t.Helper()
	val := make([]byte, 4)
	_, err := s.Getsockopt(tpacket.SolSocket, tpacket.SoError, val)
	must(t, err)
	return uint32(val[0])
}

// TestConcurrentPollsMissNoError: one goroutine asks for the socket's events while another sleeps
// on them.
func TestConcurrentPollsMissNoError(t *testing.T) {
	o := listen(t, attach.Config{})
	s := socket(t, o.dial(t), rxring.SockRaw)
	setRing(t, s, slots)
	bind(t, s, 7)
	w := make(bell, 1)
	s.Poll(w)
	o.dev.SetUp(false)
	o.dev.SetUp(true)
	for e := rxring.Events(0); e != rxring.EventErr; {
		if e, _, _ = s.Poll(w); e == 0 {
			w.wait(t)
		}
	}
	var (
		stop atomic.Bool
		all  sync.WaitGroup
	)
	all.Go(func() {
		for !stop.Load() {
			s.QueuedBytes()
		}
	})
	defer all.Wait()
	defer stop.Store(true)
	for range 2000 { // the error stays until it is read
		select {
		case <-w:
		default:
		}
		if e, _, _ := s.Poll(w); e == 0 {
			w.wait(t)
		}
	}
}
