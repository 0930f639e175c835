package attach_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// A poll that finds the ring empty does not wait for the server. No packet may be missed by it,
// neither one that arrives while it arms, nor one that arrives while it looks.
func TestNoPacketIsMissedByAPollOfAnEmptyRing(t *testing.T) {
	for version, packets := range map[tpacket.Version]int{tpacket.V2: 20000, tpacket.V3: 20000} {
		t.Run(version.String(), func(t *testing.T) {
			o := listen(t, attach.Config{})
			s := socket(t, o.dial(t), rxring.SockRaw)
			var rd *ring.Reader
			if version == tpacket.V3 {
				rd = setBlocks(t, s)
			} else {
				rd, _ = setRing(t, s, slots)
			}
			bind(t, s, 7)
			readAll(t, o, s, rd, packets)
		})
	}
}

// setBlocks gives s a ring of blocks, with room for a few packets in each.
func setBlocks(t *testing.T, s *attach.Socket) *ring.Reader {
	t.Helper()
	r := tpacket.Req3{Req: tpacket.Req{BlockSize: 4096, BlockNr: 16, FrameSize: 2048, FrameNr: 32}, RetireBlkTov: 1}
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, u32(uint32(tpacket.V3))))
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&r)))
	g, _ := s.Geometry()
	rd, _ := openRing(t, s, g)
	return rd
}

// readAll delivers packets, and reads them with polls of the empty ring.
func readAll(t *testing.T, o offer, s *attach.Socket, rd *ring.Reader, packets int) {
	got := make(chan struct{}, 64) // fewer than the ring has room for
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

// A peer is sent as many wake-ups as it has asked for, whatever it does with them.
func TestAPeerGetsTheWakeupsThatItHasAskedFor(t *testing.T) {
	const arm, counts = 23, 19
	o := listen(t, attach.Config{})
	c, events := greeted(t, o.Addr())
	ask(t, c, request(newSocket, 0, 1, unix.SOCK_RAW, unix.ETH_P_ALL))
	for wakes := 1; wakes <= 4; wakes++ {
		_, err := c.Write(request(arm, 1, 2, wakes))
		must(t, err)
		ask(t, c, request(counts, 1, 3)) // arm was served before
		for i := range 10 {
			o.dev.Deliver(&rxring.Packet{Data: frame(i, 64)})
		}
		ask(t, c, request(closeSocket, 1, 4)) // all events were sent
		b, got := make([]byte, 16), 0
		for {
			if _, _, err := unix.Recvfrom(events, b, unix.MSG_DONTWAIT); err != nil {
				break
			}
			got++
		}
		if got != wakes {
			t.Errorf("%d wake-ups of %d that were asked for", got, wakes)
		}
		c, events = greeted(t, o.Addr())
		ask(t, c, request(newSocket, 0, 1, unix.SOCK_RAW, unix.ETH_P_ALL))
	}
	for _, wakes := range []int{0, 5} {
		c, _ := greeted(t, o.Addr())
		ask(t, c, request(newSocket, 0, 1, unix.SOCK_RAW, unix.ETH_P_ALL))
		_, err := c.Write(request(arm, 1, 2, wakes))
		must(t, err)
		if _, _, _, err := answer(t, c); err == nil {
			t.Errorf("%d wake-ups: answered", wakes)
		}
	}
}

// Whether a ring of blocks is readable is known here, and what the server would answer.
func TestAPollOfARingOfBlocksAnswersAsTheServerDoes(t *testing.T) {
	o := listen(t, attach.Config{})
	s := socket(t, o.dial(t), rxring.SockRaw)
	rd := setBlocks(t, s)
	bind(t, s, 7)
	w := make(bell, 1)
	var f ring.Frame
	for i := range 200 { // laps of the ring
		if e, readable, _ := s.Poll(w); e != 0 || readable {
			t.Fatalf("%d: events %#x, readable %v of an empty ring", i, e, readable)
		}
		for range 1 + i%70 {
			o.dev.Deliver(&rxring.Packet{Data: frame(i, 64)})
		}
		w.wait(t)
		for n := 0; n < 1+i%70; {
			e, readable, _ := s.Poll(w)
			if want := s.Events(); e == rxring.EventIn && (want != e || !readable) {
				t.Fatalf("%d: events %#x, readable %v: the server says %#x", i, e, readable, want)
			}
			if e == 0 {
				w.wait(t)
			}
			for rd.Advance(&f) {
				n++
			}
		}
	}
}
