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

// A packet that arrives during refresh uses up the wake-up. One that arrives after that,
// before the next wait, is an edge nevertheless, and nothing else is.
func TestAPacketAfterOneDuringRefreshIsAnEdge(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
	must(err)
	rx, err := dev.Namespace().Socket(rxring.SockRaw, tpacket.ETHPAll)
	must(err)
	defer rx.Close()
	must(rx.SetVersion(tpacket.V2))
	must(rx.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 1 << 11, FrameNr: 32}))
	socket := &meanwhile{backend: localSocket{rx}}
	p, err := newPacketSocket(socket, rxring.SockRaw, false)
	must(err)
	defer unix.Close(p.standIn)
	defer p.waker.close()
	p.ringed, p.edges = true, true

	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	must(err)
	defer unix.Close(ep)
	must(unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, p.standIn, &unix.EpollEvent{Events: unix.EPOLLIN | 1<<31}))
	edge := func() bool {
		n, err := unix.EpollWait(ep, make([]unix.EpollEvent, 1), 0)
		must(err)
		return n == 1
	}
	deliver := func() { dev.Deliver(&rxring.Packet{Data: make([]byte, 60)}) }

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
