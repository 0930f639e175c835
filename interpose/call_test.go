//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/interpose/internal/seccomp"
	"github.com/rxring/rxring/tpacket"
)

// untouched is a backend that fails the test when a call acts on it.
type untouched struct {
	backend
	t *testing.T
}

func (u untouched) Bind(tpacket.SockaddrLL) error                   { u.t.Error("bound"); return nil }
func (u untouched) Setsockopt(int, int, []byte) error               { u.t.Error("option set"); return nil }
func (u untouched) Getsockopt(int, int, []byte) (int, error)        { u.t.Error("option read"); return 0, nil }
func (u untouched) AttachFilter([]cbpf.Instruction) error           { u.t.Error("filter set"); return nil }
func (u untouched) Map(int) (int, error)                            { u.t.Error("mapped"); return -1, unix.EINVAL }
func (u untouched) Discard()                                        { u.t.Error("packet discarded") }
func (u untouched) SendTo([]byte, *tpacket.SockaddrLL) (int, error) { u.t.Error("sent"); return 0, nil }
func (u untouched) Recv([]byte, rxring.RecvFlags) (rxring.Message, error) {
	u.t.Error("received")
	return rxring.Message{}, unix.EAGAIN
}

// sessionWithoutProgram is a session with a packet socket. No call is valid in it, and no
// process holds the socket.
func sessionWithoutProgram(t *testing.T, ns *rxring.Namespace) (*session, *packetSocket) {
	t.Helper()
	s, err := newSession(&Config{Namespace: ns}, seccomp.NewListener(-1, true), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	rx, err := s.openBackend(rxring.SockRaw, tpacket.ETHPAll)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPacketSocket(rx, rxring.SockRaw, false)
	if err != nil {
		t.Fatal(err)
	}
	s.addSocket(p)
	return s, p
}

// A call that has ended changes nothing, whatever it is: what was read of the thread may
// have been another one's.
func TestACallThatHasEndedChangesNothing(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	s, p := sessionWithoutProgram(t, ns)
	rx := p.backend
	dev.Deliver(&rxring.Packet{Data: make([]byte, 60)})
	p.refresh()
	p.backend = untouched{rx, t}
	defer func() { p.backend = rx }()

	memory := make([]byte, 4096)
	addr := uint64(uintptr(unsafe.Pointer(&memory[0])))
	fprog := binary.NativeEndian.AppendUint64([]byte{1, 0, 0, 0, 0, 0, 0, 0}, addr)
	promisc := append(append([]byte("net0"), make([]byte, 12)...), binary.NativeEndian.AppendUint16(nil, unix.IFF_UP|unix.IFF_PROMISC)...)
	edge := binary.NativeEndian.AppendUint32(nil, unix.EPOLLET&0xffffffff)
	for _, c := range []struct {
		behaviour string
		nr        int32
		args      map[int]uint64 // others are addresses, or 0
		memory    []byte
	}{
		{"bind", unix.SYS_BIND, map[int]uint64{2: 20}, nil},
		{"option", unix.SYS_SETSOCKOPT, map[int]uint64{1: tpacket.SolPacket, 2: tpacket.OptAuxdata, 4: 4}, nil},
		{"ring", unix.SYS_SETSOCKOPT, map[int]uint64{1: tpacket.SolPacket, 2: tpacket.OptRxRing, 4: 16}, nil},
		{"fanout program", unix.SYS_SETSOCKOPT, map[int]uint64{1: tpacket.SolPacket, 2: tpacket.OptFanoutData, 4: sizeofFprog}, fprog},
		{"filter", unix.SYS_SETSOCKOPT, map[int]uint64{1: unix.SOL_SOCKET, 2: unix.SO_ATTACH_FILTER, 4: sizeofFprog}, fprog},
		{"statistics", unix.SYS_GETSOCKOPT, map[int]uint64{1: tpacket.SolPacket, 2: tpacket.OptStatistics}, nil},
		{"recvfrom", unix.SYS_RECVFROM, map[int]uint64{2: 60}, nil},
		{"recvmsg", unix.SYS_RECVMSG, nil, nil},
		{"recvmmsg", unix.SYS_RECVMMSG, map[int]uint64{2: 1}, nil},
		{"sendto", unix.SYS_SENDTO, map[int]uint64{2: 60, 4: 0}, nil},
		{"sendmsg", unix.SYS_SENDMSG, nil, nil},
		{"sendmmsg", unix.SYS_SENDMMSG, map[int]uint64{2: 1}, nil},
		{"mmap", unix.SYS_MMAP, map[int]uint64{1: 4096}, nil},
		{"edges", unix.SYS_EPOLL_CTL, map[int]uint64{1: unix.EPOLL_CTL_ADD}, edge},
		{"promiscuous", unix.SYS_IOCTL, map[int]uint64{1: unix.SIOCSIFFLAGS}, promisc},
	} {
		clear(memory)
		copy(memory, c.memory)
		n := seccomp.Notification{NR: c.nr, TID: uint32(os.Getpid())}
		entry := syscallByNumber[c.nr]
		for _, i := range entry.mem {
			n.Args[i] = addr
		}
		for i, v := range c.args {
			n.Args[i] = v
		}
		n.Args[entry.fd] = uint64(p.standIn)
		before := string(memory)
		p.seenTID = 0
		if c.nr == unix.SYS_EPOLL_CTL {
			p.backend = rx // refresh asks it
		}
		s.handle(n)
		p.backend = untouched{rx, t}
		if p.seenTID != os.Getpid() {
			t.Errorf("%s: the socket was not found", c.behaviour)
		}
		if string(memory) != before || p.edges || len(s.sockets.promisc) > 0 || s.waiting.count() > 0 {
			t.Errorf("%s: memory changed %v, edges %v, promiscuous %d, waiting %d", c.behaviour, string(memory) != before, p.edges, len(s.sockets.promisc), s.waiting.count())
		}
		if t.Failed() {
			t.Fatalf("by %s", c.behaviour)
		}
	}
}
