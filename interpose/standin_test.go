//go:build linux && (amd64 || arm64)

package interpose

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// meanwhile is a backend to which something happens after it is armed, before the caller
// knows.
type meanwhile struct {
	backend
	happens func()
}

func (m *meanwhile) armedEvents(w ring.Waker) rxring.Events {
	ev := m.backend.armedEvents(w)
	if m.happens != nil {
		m.happens()
		m.happens = nil
	}
	return ev
}

// ringed is a packet socket with a ring of slots, and a function that delivers a packet to it.
func ringed(t *testing.T) (p *packetSocket, socket *meanwhile, deliver func()) {
	t.Helper()
	dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
	must(t, err)
	rx, err := dev.Namespace().Socket(rxring.SockRaw, tpacket.ETHPAll)
	must(t, err)
	t.Cleanup(func() { rx.Close() })
	must(t, rx.SetVersion(tpacket.V2))
	must(t, rx.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 1 << 11, FrameNr: 32}))
	socket = &meanwhile{backend: localSocket{rx}}
	p, err = newPacketSocket(socket, rxring.SockRaw, false)
	must(t, err)
	t.Cleanup(func() {
		unix.Close(p.standIn)
		p.waker.close()
	})
	p.ringed = true
	return p, socket, func() { dev.Deliver(&rxring.Packet{Data: make([]byte, 60)}) }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A packet that arrives during refresh uses up the wake-up. One that arrives after that,
// before the next wait, is an edge nevertheless, and nothing else is.
func TestAPacketAfterOneDuringRefreshIsAnEdge(t *testing.T) {
	p, socket, deliver := ringed(t)
	p.edges = true

	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	must(t, err)
	defer unix.Close(ep)
	must(t, unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, p.standIn, &unix.EpollEvent{Events: unix.EPOLLIN | 1<<31}))
	edge := func() bool {
		n, err := unix.EpollWait(ep, make([]unix.EpollEvent, 1), 0)
		must(t, err)
		return n == 1
	}

	deliver()
	p.refresh()
	if !edge() {
		t.Fatal("no edge for the packet in the ring")
	}
	for range 3 {
		socket.happens = deliver
		p.refresh()
		if !edge() {
			t.Error("no edge for a packet that arrives meanwhile")
		}
		deliver() // nothing is armed
		p.refresh()
		if !edge() {
			t.Error("no edge for a packet that arrived before the next wait")
		}
		for range 3 {
			if p.refresh(); edge() {
				t.Error("an edge without a packet")
			}
		}
	}
}

// A writer that had begun to wake the reader when the program closed the socket does not make the
// stand-in, which stays in epoll sets, readable. A socket that is polled or seen again is woken again.
func TestAWakeUpThatIsLateForDisarmIsDiscarded(t *testing.T) {
	p, _, deliver := ringed(t)
	deliver()
	p.refresh()
	if !p.readable() {
		t.Fatal("not readable with a packet in the ring")
	}
	p.disarm()
	p.waker.Wake()
	if p.readable() {
		t.Error("readable after disarm")
	}
	p.refresh()
	if !p.readable() {
		t.Error("not readable by a poll, with a packet in the ring")
	}
	p.drain(drainAll)
	deliver()
	if !p.readable() {
		t.Error("not readable after a packet that came during a poll")
	}
	p.disarm()
	p.seenAt(0, 0)
	if !p.readable() {
		t.Error("not readable when it was seen again")
	}
	p.drain(drainAll)
	deliver()
	if !p.readable() {
		t.Error("not readable after another packet")
	}
}
