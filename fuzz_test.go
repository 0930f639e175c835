package rxring_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// FuzzTransmitRing: whatever a program writes into a transmit ring, what leaves lies
// in the frame that it asked for, and every frame has a status of Linux's after it.
func FuzzTransmitRing(f *testing.F) {
	good := make([]byte, 1360)
	h := tpacket.Header2At(good)
	h.Status, h.Len, h.Mac, h.Net = tpacket.StatusSendRequest, 60, 32, 32
	copy(good[32:], rxtest.Frame(60))
	f.Add(uint8(1), uint8(0), good)
	f.Add(uint8(5), uint8(7), good)
	h.Len, h.Mac = 1<<32-1, 65535
	f.Add(uint8(1), uint8(2), good)
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	eth := rxtest.AddDevice(f, ns, rxring.DeviceConfig{Name: "eth0"})
	raw := rxtest.AddDevice(f, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
	receiver, rd := rxtest.Open(f, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(f, receiver.BindDevice(eth, tpacket.ETHPAll))
	const frameSize, frames = 1360, 3
	f.Fuzz(func(t *testing.T, shape, options uint8, content []byte) {
		typ, dev := rxring.SockRaw, eth
		if shape&4 != 0 {
			typ = rxring.SockDgram
		}
		if shape&8 != 0 {
			dev = raw
		}
		v := tpacket.Version(shape % 3)
		s := rxtest.OpenSender(t, ns, dev, typ)
		rxtest.Must(t, s.SetVersion(v))
		for i, o := range []int{tpacket.OptLoss, tpacket.OptTxHasOff, tpacket.OptQdiscBypass} {
			rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, o, rxtest.Int(int32(options>>i&1))))
		}
		if options&8 != 0 && typ == rxring.SockRaw {
			rxtest.Must(t, rxtest.SetInt(s, tpacket.OptVnetHdrSz, 10+int(options>>4&1)*2))
		}
		rxtest.Must(t, s.SetTxRing(tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: frameSize, FrameNr: frames}))
		mem := s.TxRing().Memory().Bytes()
		copy(mem, content)
		before := bytes.Clone(mem)
		left := 0
		dev.SetTransmit(func(p *rxring.Packet) error {
			left++
			data := p.Data
			if typ == rxring.SockDgram && dev == eth {
				data = data[14:]
			}
			if p.Checksum == rxring.ChecksumPartial {
				if int(p.ChecksumStart)+int(p.ChecksumOffset)+2 > len(p.Data) {
					t.Errorf("checksum at %d+%d of %d bytes", p.ChecksumStart, p.ChecksumOffset, len(p.Data))
				}
				return nil // it may have been written to
			}
			if !bytes.Contains(before, data) {
				t.Errorf("% x left, which is nowhere in the ring", data)
			}
			return nil
		})
		to := &tpacket.SockaddrLL{Ifindex: int32(dev.Index()), Protocol: tpacket.Htons(0x800)}
		n, err := s.SendTo(nil, to)
		if err == nil && n < 0 || err != nil && n != 0 || left > frames {
			t.Errorf("Send = %d, %v; %d frames left", n, err, left)
		}
		if errno := syscall.Errno(0); err != nil && !errors.As(err, &errno) {
			t.Errorf("%v has no errno", err)
		}
		for f, ok := rd.Next(); ok; f, ok = rd.Next() {
			f.Release()
		}
		rxtest.Must(t, s.Close())
	})
}

// FuzzOffloads: whatever stands in front of a frame, what leaves is that frame, with
// offsets that lie within it.
func FuzzOffloads(f *testing.F) {
	f.Add([]byte{1, 1, 54, 0, 100, 0, 34, 0, 16, 0}, append(rxtest.Ethernet(0x800, 14), tcpPacket()...), uint16(0))
	f.Add([]byte{0, 5, 42, 0, 100, 0, 34, 0, 6, 0}, rxtest.Ethernet(0x8100, 400), uint16(0x8100))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 255, 255, 255, 255}, rxtest.Ethernet(0x86dd, 60), uint16(3))
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(f, ns, rxring.DeviceConfig{Name: "net0"})
	receiver, rd := rxtest.Open(f, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(f, receiver.BindDevice(dev, tpacket.ETHPAll))
	s := rxtest.OpenSender(f, ns, dev, rxring.SockRaw)
	rxtest.Must(f, rxtest.SetInt(s, tpacket.OptVnetHdrSz, 10))
	f.Fuzz(func(t *testing.T, header, data []byte, protocol uint16) {
		if len(header) < 10 {
			return
		}
		whole := append(header[:10:10], data...)
		dev.SetTransmit(func(p *rxring.Packet) error {
			start, offset := int(p.ChecksumStart), int(p.ChecksumOffset)
			if p.Checksum == rxring.ChecksumPartial && start+offset+2 > len(p.Data) {
				t.Errorf("checksum at %d+%d of %d bytes", start, offset, len(p.Data))
			}
			if p.GSO.Type != rxring.GSONone && (p.GSO.Size == 0 || int(p.GSO.HdrLen) > len(p.Data)) {
				t.Errorf("segments %+v of %d bytes", p.GSO, len(p.Data))
			}
			if len(p.Data) != len(data) {
				t.Errorf("%d bytes left, of %d", len(p.Data), len(data))
			}
			return nil
		})
		n, err := s.SendTo(whole, &tpacket.SockaddrLL{Ifindex: int32(dev.Index()), Protocol: tpacket.Htons(protocol)})
		if err == nil && n != len(whole) || !bytes.Equal(whole[10:], data) {
			t.Errorf("Send = %d, %v", n, err)
		}
		for f, ok := rd.Next(); ok; f, ok = rd.Next() {
			f.Release()
		}
	})
}

// tcpPacket is an IPv4 packet with a TCP header.
func tcpPacket() []byte {
	b := make([]byte, 300)
	copy(b, []byte{0x45, 0, 1, 44, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1, 0x9c, 0x40, 0, 53})
	b[32] = 5 << 4
	return b
}

// FuzzSocketOptions sets and reads options as a hostile program would, with
// packets between: nothing panics, no option reports more than there was room
// for, and memory stays within the namespace's bound.
func FuzzSocketOptions(f *testing.F) {
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptRxRing), tpacket.Bytes(&rxtest.SmallRing))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptVersion), rxtest.Int(2))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptReserve), rxtest.Int(70000))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptVnetHdrSz), rxtest.Int(12))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptCopyThresh), rxtest.Int(1))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptAddMembership), append(rxtest.Int(2), 0, 0, 6, 0, 1, 0, 0x5e, 0, 0, 0xfb, 0, 0))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptFanout), rxtest.Int(1<<16))
	f.Add(uint16(rxtest.SolSocket), uint8(33), rxtest.Int(1<<30))
	f.Add(uint16(rxtest.SolSocket), uint8(20), make([]byte, 16))
	f.Add(uint16(rxtest.SolSocket), uint8(25), []byte("net0"))
	f.Fuzz(func(t *testing.T, level uint16, name uint8, val []byte) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 1 << 20})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
		s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		other, _ := rxtest.Open(t, ns, rxring.SockDgram, tpacket.V2, rxtest.SmallRing)
		for _, s := range []*rxring.Socket{s, other} {
			if err := s.Setsockopt(int(level), int(name), val); err == nil && len(val) > 4096 {
				t.Logf("option %d %d takes %d bytes", level, name, len(val))
			}
			room := make([]byte, len(val)%64)
			copy(room, val)
			if n, err := s.Getsockopt(int(level), int(name), room); err == nil && n > len(room) {
				t.Errorf("option %d %d: %d bytes in %d", level, name, n, len(room))
			}
		}
		for range 3 {
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(100)})
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(3000), Outgoing: true})
		}
		b := make([]byte, 200)
		for _, s := range []*rxring.Socket{s, other} {
			for {
				m, err := s.Recv(b, 0)
				if err != nil {
					break
				}
				if c := m.Control(len(val)); len(c) > len(val) {
					t.Errorf("%d bytes of control messages in %d", len(c), len(val))
				}
			}
			if got := s.Totals(); got.Offered() > 6 {
				t.Errorf("%+v: offered were 6", got)
			}
		}
	})
}

// FuzzUntag: an untagged packet has the bytes of the original without its tags, however
// these lie in pieces, and the last of the tags beside it.
func FuzzUntag(f *testing.F) {
	f.Add(rxtest.TCPFrame(300, 0x8100, 5), uint8(1), uint16(14), uint16(3))
	f.Add(rxtest.TCPFrame(300, 0x88a8, 5, 0x8100, 6), uint8(2), uint16(15), uint16(7))
	f.Add(rxtest.TCPFrame(40, 0x8100, 0)[:17], uint8(1), uint16(14), uint16(1))
	f.Fuzz(func(t *testing.T, frame []byte, tags uint8, first, piece uint16) {
		if len(frame) < 14 {
			return // has no whole Ethernet header: measure refuses it
		}
		n := 1 + int(tags%7)
		p := rxring.Packet{Data: frame, Len: 1500, ChecksumStart: 34}
		if at := 14 + int(first); at < len(frame) {
			p.Data = frame[:at]
			p.Rest = slices.Collect(slices.Chunk(frame[at:], 1+int(piece)))
		}
		q, ok := rxring.Untag(&p, n)
		if ok != (len(frame) >= 16+4*n) {
			t.Fatalf("%d bytes, %d tags: ok is %v", len(frame), n, ok)
		}
		if !ok {
			return
		}
		got := slices.Concat(append([][]byte{q.Data}, q.Rest...)...)
		if want := slices.Concat(frame[:12], frame[12+4*n:]); !bytes.Equal(got, want) {
			t.Fatalf("got % x\nwant % x", got, want)
		}
		var tag rxring.VLAN
		at := frame[12+4*(n-1):]
		if tpid := binary.BigEndian.Uint16(at); tpid == 0x8100 || tpid == 0x88a8 {
			tag = rxring.VLAN{TPID: tpid, TCI: binary.BigEndian.Uint16(at[2:])}
		}
		if q.VLAN != tag || q.Len != 1500-4*n || q.ChecksumStart != 34-uint16(4*n) {
			t.Fatalf("tag %v, length %d, checksum start %d: want %v, %d, %d", q.VLAN, q.Len, q.ChecksumStart, tag, 1500-4*n, 34-4*n)
		}
	})
}
