package conformance

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	remote "github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// rxringSide is rxring. What it adds is what interpose adds: checks of lengths
// that the API's types do away with, and the count of mappings.
type rxringSide struct {
	ns      *rxring.Namespace
	open    func(rxring.SockType, uint16) (ours, error)
	detach  func()
	devices map[string]*rxring.Device

	mu   sync.Mutex // attached, a device transmits on the server's goroutine
	sent []byte
}

// ours is a packet socket of a namespace of this process, or of another's.
type ours interface {
	Bind(tpacket.SockaddrLL) error
	Addr() tpacket.SockaddrLL
	Setsockopt(level, name int, val []byte) error
	Getsockopt(level, name int, buf []byte) (int, error)
	AttachFilter([]cbpf.Instruction) error
	GetFilter(room int) ([]cbpf.Instruction, int, error)
	SetFanoutProgram([]cbpf.Instruction) error
	Geometry() (tpacket.Geometry, bool)
	SetMapped(func(memfd int) bool)
	Map(size int) (memfd int, err error)
	Events() rxring.Events
	QueuedBytes() int
	Recv([]byte, rxring.RecvFlags) (rxring.Message, error)
	Send([]byte) (int, error)
	SendTo([]byte, *tpacket.SockaddrLL) (int, error)
	Close() error
}

var (
	_ ours = (*rxring.Socket)(nil)
	_ ours = (*remote.Socket)(nil)
)

// newAttachedSide is newRxringSide with all calls made from the other end of a unix
// socket.
func newAttachedSide() (rxSide, error) {
	r, err := newRxringSide()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "rxring-conformance-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // it is no longer needed when the client is there
	srv, err := remote.Listen(filepath.Join(dir, "s"), remote.Config{Namespace: r.ns})
	if err != nil {
		return nil, err
	}
	client, err := remote.Dial(context.Background(), srv.Addr())
	if err != nil {
		srv.Close()
		return nil, err
	}
	r.open = func(t rxring.SockType, protocol uint16) (ours, error) { return client.Socket(t, protocol) }
	r.detach = func() {
		client.Close()
		srv.Close()
	}
	return r, nil
}

func newRxringSide() (*rxringSide, error) {
	r := &rxringSide{ns: rxring.NewNamespace(rxring.NamespaceConfig{FirstIndex: tapIndex}), devices: make(map[string]*rxring.Device), detach: func() {}}
	r.open = func(t rxring.SockType, protocol uint16) (ours, error) { return r.ns.Socket(t, protocol) }
	for _, name := range []string{tap0, tun0} {
		if err := r.add(name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *rxringSide) reset() bool { return false }

func (r *rxringSide) end() error {
	r.detach()
	return nil
}

func (r *rxringSide) add(name string) error {
	c := rxring.DeviceConfig{Name: name, Type: rxring.Ethernet, HardwareAddr: ourAddr, MTU: deviceMTU}
	if name == tun0 {
		c.Type, c.HardwareAddr = rxring.RawIP, [6]byte{}
	}
	d, err := r.ns.AddDevice(c)
	if err != nil {
		return err
	}
	d.SetTransmit(func(p *rxring.Packet) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent = append(r.sent, onWire(name, rxringHeader(p), p.Data)...)
		return nil
	})
	r.devices[name] = d
	return nil
}

func (r *rxringSide) device(name string, what change) error {
	d, there := r.ns.DeviceByName(name)
	switch {
	case what == comesBack && !there:
		return r.add(name)
	case what == goesAway && there:
		return r.ns.RemoveDevice(d)
	case what == goesDown || what == comesUp: // also one that is gone
		r.devices[name].SetUp(what == comesUp)
	}
	return nil
}

func (r *rxringSide) arrive(dev string, p packet, times int, how delivery) error {
	var tag rxring.VLAN
	if how == tagsBeside {
		tag.TPID, tag.TCI = uint16(p.tag>>16), uint16(p.tag)
		p = p.untagged()
	}
	q := rxringPacket(dev, p)
	q.VLAN = tag
	deliver(r.devices[dev], q, times, how)
	return nil
}

func (r *rxringSide) leave(dev string, p packet, times int, how delivery) error {
	q := rxringPacket(dev, p)
	q.Outgoing, q.Queue = true, 0
	deliver(r.devices[dev], q, times, how)
	return nil
}

// rxringPacket is p as the kernel has it when it arrives.
func rxringPacket(dev string, p packet) rxring.Packet {
	// The kernel computes the flow's hash on demand; a TAP counts its
	// queues from 1.
	q := rxring.Packet{Data: p.bytes(dev), Hash: 1, Queue: 1}
	if linear := p.linear(dev); linear < len(q.Data) {
		q.Data, q.Rest = q.Data[:linear], [][]byte{q.Data[linear:]}
	}
	h := p.vnetHdr(dev)
	if p.load.flags&needsCsum != 0 {
		q.Checksum = rxring.ChecksumPartial
		q.ChecksumStart, q.ChecksumOffset = binary.NativeEndian.Uint16(h[6:]), binary.NativeEndian.Uint16(h[8:])
	}
	q.GSO = rxring.GSO{Type: rxring.GSOType(p.load.gsoType), Size: p.load.gsoSize, HdrLen: p.load.hdrLen}
	return q
}

func deliver(d *rxring.Device, q rxring.Packet, times int, how delivery) {
	if how == inPieces && q.GSO.Type == rxring.GSONone && len(q.Data) > 20 {
		q.Data, q.Rest = q.Data[:17], [][]byte{q.Data[17:17], q.Data[17:20], q.Data[20:]}
	}
	if how == inBatches {
		d.DeliverBatch(slices.Repeat([]rxring.Packet{q}, times))
		return
	}
	for range times {
		d.Deliver(&q)
	}
}

func (r *rxringSide) socket(typ, proto int) (socketSide, error) {
	s, err := r.open(rxring.SockType(typ), uint16(proto))
	if err != nil {
		return nil, err
	}
	k := &rxringSocket{s: s}
	s.SetMapped(func(int) bool { return k.mapped })
	return k, nil
}

type rxringSocket struct {
	s      ours
	tx     *mapping // the shape of the transmit ring, nil: there is none
	mapped bool
	mem    []byte
}

const addrOffset = 12 // offsetof(struct sockaddr_ll, sll_addr)

func (s *rxringSocket) close() error { return s.s.Close() }

func (s *rxringSocket) bind(addr []byte) error {
	if len(addr) < tpacket.SizeofSockaddrLL {
		return unix.EINVAL
	}
	return s.s.Bind(tpacket.Parse[tpacket.SockaddrLL](addr))
}

func (s *rxringSocket) getsockname() ([]byte, error) {
	a := s.s.Addr()
	return tpacket.Bytes(&a)[:addrOffset+int(a.Halen)], nil
}

func (s *rxringSocket) setsockopt(level, name int, val []byte) error {
	err := s.s.Setsockopt(level, name, val)
	if err == nil && level == tpacket.SolPacket && name == tpacket.OptTxRing {
		return reshape(&s.tx, tpacket.Version(s.int(tpacket.OptVersion)), s.int(tpacket.OptReserve), val)
	}
	return err
}

// int is a SOL_PACKET option.
func (s *rxringSocket) int(name int) uint32 {
	b := make([]byte, 4)
	if _, err := s.s.Getsockopt(tpacket.SolPacket, name, b); err != nil {
		panic(err)
	}
	return binary.NativeEndian.Uint32(b)
}

func (s *rxringSocket) getsockopt(level, name int, buf []byte) (int, error) {
	return s.s.Getsockopt(level, name, buf)
}

func (s *rxringSocket) attach(prog []cbpf.Instruction) error { return s.s.AttachFilter(prog) }

func (s *rxringSocket) getFilter(room int) ([]cbpf.Instruction, int, error) {
	return s.s.GetFilter(room)
}

func (s *rxringSocket) fanoutProgram(prog []cbpf.Instruction) error {
	return s.s.SetFanoutProgram(prog)
}

func (s *rxringSocket) mmap() (*mapping, error) {
	m := new(mapping)
	if g, ok := s.s.Geometry(); ok {
		m.geo = g
	}
	if s.tx != nil {
		m.tx = &mapping{geo: s.tx.geo, sends: true}
	}
	fd, err := s.s.Map(m.size())
	if err != nil {
		return nil, err
	}
	if s.mem, err = unix.Mmap(fd, 0, m.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	s.mapped = true
	if attached, ok := s.s.(*remote.Socket); ok {
		if err := attached.Mapped(); err != nil {
			return nil, err
		}
	}
	m.lie(s.mem)
	return m, nil
}

func (s *rxringSocket) sendto(frame, addr []byte) (int, error) {
	if addr == nil {
		return s.s.Send(frame)
	}
	if len(addr) < tpacket.SizeofSockaddrLL || len(addr) < addrOffset+int(addr[addrOffset-1]) {
		return 0, unix.EINVAL
	}
	to := tpacket.Parse[tpacket.SockaddrLL](addr)
	to.Halen = min(to.Halen, uint8(len(to.Addr)))
	return s.s.SendTo(frame, &to)
}

func (s *rxringSocket) inq() (int, error) { return s.s.QueuedBytes(), nil }

func (s *rxringSocket) recv(room, flags, control int) (message, error) {
	data := make([]byte, room)
	m, err := s.s.Recv(data, rxring.RecvFlags(flags))
	if err != nil {
		return message{}, err
	}
	oob := m.Control(control)
	return message{m.N, int(m.Flags), data[:m.Copied], tpacket.Bytes(&m.From), oob}, nil
}

// read has no call of its own: it is a receive call without flags, which does not
// wait here. Reading nothing is no call on the socket at all.
func (s *rxringSocket) read(room int) ([]byte, error) {
	if room == 0 {
		return nil, nil
	}
	m, err := s.recv(room, 0, 0)
	return m.data, err
}

func (s *rxringSocket) munmap() error {
	s.mapped = false
	return unix.Munmap(s.mem)
}

func (s *rxringSocket) state() state { return stateOf(s) }

func (s *rxringSocket) poll() (int, error) { return int(s.s.Events()), nil }
