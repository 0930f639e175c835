package rxring_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

// TestSentFrameReachesSocketsAndOwner: first to the sockets, as outgoing, but not
// to who sent it; then to the device's owner, in one piece.
func TestSentFrameReachesSocketsAndOwner(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	elsewhere := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net1"})
	s, own := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll))
	_, other := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	_, third := rxtest.Open(t, ns, rxring.SockDgram, tpacket.V1, rxtest.SmallRing)

	data := rxtest.Frame(100)
	var got []byte
	dev.SetTransmit(func(p *rxring.Packet) error {
		if !p.Outgoing || p.Rest != nil {
			t.Errorf("the owner got %+v", p)
		}
		if f, ok := other.Next(); !ok || f.From.Pkttype != tpacket.PacketOutgoing || !bytes.Equal(f.Data, p.Data) {
			t.Errorf("before the owner, another socket had %+v, %v", f, ok)
		} else {
			f.Release()
		}
		got = bytes.Clone(p.Data)
		// An answer is delivered in the same call.
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
		return nil
	})
	elsewhere.SetTransmit(func(*rxring.Packet) error { t.Error("sent through another device"); return nil })
	if n, err := s.Send(data); n != 100 || err != nil || !bytes.Equal(got, data) {
		t.Errorf("Send = %d, %v; the owner has % x", n, err, got)
	}
	if f := rxtest.Next(t, own); f.Len != 60 || f.From.Pkttype == tpacket.PacketOutgoing {
		t.Errorf("the sender hears %d bytes, %+v: want the answer only", f.Len, f.From)
	}
	if f := rxtest.Next(t, third); !bytes.Equal(f.Data, data[14:]) {
		t.Errorf("a SOCK_DGRAM socket sees % x", f.Data)
	}
	if s.Sent() != 1 {
		t.Errorf("Sent = %d", s.Sent())
	}

	dev.SetTransmit(nil)
	if n, err := s.Send(data); n != 100 || err != nil || s.Sent() != 2 {
		t.Errorf("with no owner: %d, %v, %d sent", n, err, s.Sent())
	}
}

// TestFanoutGroupDoesNotHearItsOwnFrames: neither its sender nor the other members.
func TestFanoutGroupDoesNotHearItsOwnFrames(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	var members [2]*rxring.Socket
	for i := range members {
		members[i], _ = rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
		rxtest.Must(t, members[i].BindDevice(dev, tpacket.ETHPAll), members[i].JoinFanout(rxring.FanoutConfig{ID: 7, Mode: rxring.FanoutLB}))
	}
	alone, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(t, alone.BindDevice(dev, tpacket.ETHPAll))
	for range 3 {
		if _, err := members[0].Send(rxtest.Frame(60)); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range members {
		if n := s.Totals().Offered(); n != 0 {
			t.Errorf("member %d heard %d frames of its group", i, n)
		}
	}
	if n := alone.Totals().Captured; n != 3 {
		t.Errorf("a socket in no group heard %d frames: want 3", n)
	}
	if _, err := alone.Send(rxtest.Frame(60)); err != nil {
		t.Fatal(err)
	}
	if n := members[0].Totals().Captured + members[1].Totals().Captured; n != 1 {
		t.Errorf("the group heard %d frames of others: want 1", n)
	}
}

// TestOwnerRefusesFrames: its error reaches the sender, with an errno.
func TestOwnerRefusesFrames(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{io.ErrShortBuffer, syscall.ENOBUFS},
		{fmt.Errorf("the tunnel: %w", syscall.ENETUNREACH), syscall.ENETUNREACH},
	} {
		dev.SetTransmit(func(*rxring.Packet) error { return c.err })
		n, err := s.Send(rxtest.Frame(60))
		if n != 0 || !errors.Is(err, c.want) || !errors.Is(err, c.err) || !strings.Contains(err.Error(), "net0") {
			t.Errorf("%v: Send = %d, %v: want %v, and the device's name", c.err, n, err, c.want)
		}
	}
	if s.Sent() != 0 {
		t.Errorf("%d frames sent", s.Sent())
	}
	// A frame of a ring stays there for the next call.
	rxtest.Must(t, s.SetTxRing(rxtest.SmallRing))
	r := s.TxRing()
	put(r, tpacket.V1, 0, rxtest.Frame(60))
	if _, err := s.Send(nil); !errors.Is(err, syscall.ENETUNREACH) || !r.Requested() {
		t.Errorf("Send = %v; the frame is to be sent: %v", err, r.Requested())
	}
	dev.SetTransmit(nil)
	if n, err := s.Send(nil); n != 60 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// put fills frame i of a transmit ring.
func put(r *writer.TxRing, v tpacket.Version, i uint32, data []byte) {
	rxtest.PutFrame(r.Memory().Bytes()[r.Geometry().FrameOffset(i):], v, data)
}

// TestWhatCannotBeSent: the errno is Linux's (see the tests against the kernel), and
// the message says what would have been accepted.
func TestWhatCannotBeSent(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 1 << 20})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	bound, dgram := rxtest.OpenSender(t, ns, dev, rxring.SockRaw), rxtest.OpenSender(t, ns, dev, rxring.SockDgram)
	unbound, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	closed := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, closed.Close())
	vnet := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, rxtest.SetInt(vnet, tpacket.OptVnetHdrSz, 10))
	ringed := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, ringed.SetVersion(tpacket.V3), ringed.SetTxRing(rxtest.SmallRing))
	ringless := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, ringless.SetVersion(tpacket.V3))
	offload := func(flags, kind byte, length, size, start, offset byte) []byte {
		return append([]byte{flags, kind, length, 0, size, 0, start, 0, offset, 0}, rxtest.Ethernet(0x800, 200)...)
	}
	pending := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, pending.BindDevice(dev, tpacket.ETHPAll))
	dev.SetUp(false)
	dev.SetUp(true)
	for _, c := range []struct {
		name string
		do   func() error
		want syscall.Errno
		says string
	}{
		{"a pending error", sends(pending, rxtest.Frame(60), nil), syscall.ENETDOWN, "pending"},
		{"closed", sends(closed, rxtest.Frame(60), nil), syscall.EBADF, "closed"},
		{"no device", sends(unbound, rxtest.Frame(60), nil), syscall.ENXIO, "bound to no device"},
		{"another's device", sends(bound, rxtest.Frame(60), &tpacket.SockaddrLL{Ifindex: 77}), syscall.ENXIO, "sll_ifindex 77"},
		{"address too long", sends(bound, rxtest.Frame(60), &tpacket.SockaddrLL{Ifindex: 2, Halen: 9}), syscall.EINVAL, "sll_halen 9"},
		{"too short", sends(bound, rxtest.Frame(60)[:13], nil), syscall.EINVAL, "13 bytes: want the whole link-layer header, 14"},
		{"too long", sends(bound, make([]byte, 1515), nil), syscall.EMSGSIZE, "1515 bytes: want at most 1514"},
		{"too long for anything", sends(bound, make([]byte, 1519), nil), syscall.EMSGSIZE, "1519 bytes: want at most 1518"},
		{"no address for the header", sends(dgram, rxtest.Frame(60), nil), syscall.EINVAL, "want the receiver's"},
		{"no room for offloads", sends(vnet, make([]byte, 9), nil), syscall.EINVAL, "9 bytes: want 10"},
		{"headers beyond the frame", sends(vnet, offload(0, 0, 201, 0, 0, 0), nil), syscall.EINVAL, "hdr_len"},
		{"checksum in the addresses", sends(vnet, offload(1, 0, 0, 0, 19, 0), nil), syscall.EINVAL, "csum_start 19"},
		{"unknown segments", sends(vnet, offload(1, 2, 0, 9, 34, 16), nil), syscall.EINVAL, "gso_type 0x2"},
		{"segments of nothing", sends(vnet, offload(1, 1, 0, 0, 34, 16), nil), syscall.EINVAL, "gso_size 0"},
		{"UDP segments without checksum", sends(vnet, offload(0, 5, 0, 9, 34, 6), nil), syscall.EINVAL, "UDP_L4"},
		{"UDP segments with ECN", sends(vnet, offload(1, 0x85, 0, 9, 34, 6), nil), syscall.EINVAL, "no ECN"},
		{"TCP segments with UDP's checksum", sends(vnet, offload(1, 1, 0, 9, 34, 6), nil), syscall.EINVAL, "csum_offset 6: want 16"},
		{"too many UDP segments", sends(vnet, offload(1, 5, 0, 1, 34, 6), nil), syscall.EINVAL, "at most 128 segments"},
		{"no TCP", sends(vnet, offload(0, 1, 0, 9, 0, 0), nil), syscall.EINVAL, "not of that kind"},
		{"no TCP, says its checksum", sends(vnet, offload(1, 1, 0, 9, 34, 16), nil), syscall.ENOMEM, "cannot be cut up"},
		{"a segment too long", sends(vnet, append(offload(1, 1, 0, 9, 34, 16), make([]byte, 5<<20)...), nil), syscall.ENOBUFS, "want at most 4751024"},

		{"a ring beside a ring", func() error { return ringed.SetTxRing(rxtest.SmallRing) }, syscall.EBUSY, "take it away first"},
		{"a ring of no shape", func() error { return bound.SetTxRing(tpacket.Req{BlockSize: 4095, BlockNr: 1}) }, syscall.EINVAL, "tp_block_size"},
		{"a ring without memory", func() error {
			return bound.SetTxRing(tpacket.Req{BlockSize: 1 << 20, BlockNr: 2, FrameSize: 1 << 20, FrameNr: 2})
		}, syscall.ENOMEM, "bytes of ring memory"},
		{"no ring, but frames of it", func() error { return ringed.SetTxRing(tpacket.Req{FrameNr: 1}) }, syscall.EINVAL, "tp_frame_nr"},
		{"a ring with a timer", func() error {
			r := tpacket.Req3{Req: rxtest.SmallRing, RetireBlkTov: 8}
			return ringless.Setsockopt(tpacket.SolPacket, tpacket.OptTxRing, tpacket.Bytes(&r))
		}, syscall.EINVAL, "timeout 8"},
		{"skipping frames of a ring that is there", func() error { return ringed.Setsockopt(tpacket.SolPacket, tpacket.OptLoss, rxtest.Int(1)) }, syscall.EBUSY, "has a ring"},
		{"nothing to map", func() error { _, err := bound.Map(8192); return err }, syscall.EINVAL, "all rings, 0"},
		{"less than all", func() error { _, err := ringed.Map(4096); return err }, syscall.EINVAL, "all rings, 8192"},
	} {
		err := c.do()
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v: want %v, with %q", c.name, err, c.want, c.says)
		}
	}
}

func sends(s *rxring.Socket, b []byte, to *tpacket.SockaddrLL) func() error {
	return func() error { _, err := s.SendTo(b, to); return err }
}

// TestWhatATransmitRingCannotSend: each fault of a frame says what it is.
func TestWhatATransmitRingCannotSend(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	for _, c := range []struct {
		name string
		set  func(*tpacket.Header3)
		want syscall.Errno
		says string
	}{
		{"a next frame", func(h *tpacket.Header3) { h.NextOffset = 1 }, syscall.EINVAL, "tp_next_offset 1"},
		{"too long", func(h *tpacket.Header3) { h.Len = 1519 }, syscall.EMSGSIZE, "at most 1518"},
		{"too short", func(h *tpacket.Header3) { h.Len = 13 }, syscall.EINVAL, "13 bytes"},
		{"of a length below zero", func(h *tpacket.Header3) { h.Len = 1<<32 - 5 }, syscall.EIO, "tp_len 4294967291"},
		{"before its place", func(h *tpacket.Header3) { h.Mac = 47 }, syscall.EINVAL, "offset 47"},
		{"past its frame", func(h *tpacket.Header3) { h.Mac = 2000 }, syscall.EINVAL, "offset 2000"},
	} {
		s := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
		rxtest.Must(t, s.SetVersion(tpacket.V3), s.Setsockopt(tpacket.SolPacket, tpacket.OptTxHasOff, rxtest.Int(1)), s.SetTxRing(rxtest.SmallRing))
		r := s.TxRing()
		put(r, tpacket.V3, 0, rxtest.Frame(60))
		h := tpacket.Header3At(r.Frame())
		h.Mac = 48
		c.set(h)
		if _, err := s.Send(nil); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || h.Status != tpacket.StatusWrongFormat {
			t.Errorf("%s: %v, status %d: want %v, with %q", c.name, err, h.Status, c.want, c.says)
		}
	}
}

// TestManySendAtOnce: frames of many goroutines leave whole, each once, also while
// the device's owner and the sockets that look come and go.
func TestManySendAtOnce(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	var got atomic.Int64
	owner := func(p *rxring.Packet) error {
		b := p.Data
		if len(b) < 14 || !bytes.Equal(b[14:], bytes.Repeat([]byte{b[14]}, len(b)-14)) {
			t.Errorf("torn: % x", b)
		}
		got.Add(1)
		return nil
	}
	dev.SetTransmit(owner)
	raw, dgram, ringed := rxtest.OpenSender(t, ns, dev, rxring.SockRaw), rxtest.OpenSender(t, ns, dev, rxring.SockDgram), rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, ringed.SetVersion(tpacket.V2), ringed.SetTxRing(rxtest.SmallRing))
	to := &tpacket.SockaddrLL{Ifindex: int32(dev.Index()), Protocol: tpacket.Htons(0x88b5)}
	const each = 3000
	var senders, others sync.WaitGroup
	for g := range 4 {
		senders.Go(func() {
			for i := range each {
				b := bytes.Repeat([]byte{byte(g*64 + i)}, 15+i%1000)
				var err error
				if g%2 == 0 {
					_, err = raw.Send(b)
				} else {
					_, err = dgram.SendTo(b, to)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Go(func() {
		r := ringed.TxRing()
		for i := range uint32(each) {
			put(r, tpacket.V2, i%4, bytes.Repeat([]byte{byte(i)}, 15+int(i%1000)))
			if n, err := ringed.Send(nil); err != nil || n != 15+int(i%1000) {
				t.Errorf("%d, %v", n, err)
			}
		}
	})
	stop := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
			rxtest.Must(t, err)
			rxtest.Must(t, s.SetRxRing(rxtest.SmallRing), raw.Setsockopt(tpacket.SolPacket, tpacket.OptQdiscBypass, rxtest.Int(1)), dgram.BindDevice(dev, 0), s.Close())
		}
	})
	senders.Wait()
	close(stop)
	others.Wait()
	if n := got.Load(); n != 5*each {
		t.Errorf("%d frames left: want %d", n, 5*each)
	}
}

// TestHostileProgramCannotHoldASend: a program that asks for frames as fast as they
// leave gets a lap's worth a call; one that takes its ring away gets none.
func TestHostileProgramCannotHoldASend(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetTxRing(rxtest.SmallRing))
	r := s.TxRing()
	calls := 0
	dev.SetTransmit(func(p *rxring.Packet) error {
		if calls++; calls > 100 {
			t.Fatal("the call goes on and on")
		}
		if len(p.Data) != 60 || p.Data[20] != 7 {
			t.Errorf("% x", p.Data)
		}
		// Whatever the program does to the frame now, it has been copied.
		b := r.Frame()
		for i := range b {
			b[i] = 0xff
		}
		for i := range uint32(4) {
			put(r, tpacket.V2, i, bytes.Repeat([]byte{7}, 60))
		}
		return nil
	})
	put(r, tpacket.V2, 0, bytes.Repeat([]byte{7}, 60))
	if n, err := s.Send(nil); n != 4*60 || err != nil {
		t.Errorf("Send = %d, %v: want a lap, 240 bytes", n, err)
	}
	dev.SetTransmit(func(*rxring.Packet) error {
		rxtest.Must(t, s.Close())
		return nil
	})
	if n, err := s.Send(nil); n != 60 || err != nil {
		t.Errorf("closed in mid-call: %d, %v: want the one frame that left", n, err)
	}
}

// TestSendingAllocatesNothing, whichever way a frame takes.
func TestSendingAllocatesNothing(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	dev.SetTransmit(func(*rxring.Packet) error { return nil })
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	raw, dgram, ringed := rxtest.OpenSender(t, ns, dev, rxring.SockRaw), rxtest.OpenSender(t, ns, dev, rxring.SockDgram), rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, ringed.SetVersion(tpacket.V2), ringed.SetTxRing(tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: 4096, FrameNr: 1}))
	to := &tpacket.SockaddrLL{Ifindex: int32(dev.Index()), Protocol: tpacket.Htons(0x88b5)}
	data := rxtest.Frame(1000)
	for name, send := range map[string]func(){
		"raw":    func() { raw.Send(data) },
		"dgram":  func() { dgram.SendTo(data, to) },
		"ringed": func() { put(ringed.TxRing(), tpacket.V2, 0, data); ringed.Send(nil) },
	} {
		var n float64
		for range 10 { // the pool is emptied now and then, and what other goroutines allocate counts, too
			n = testing.AllocsPerRun(200, func() {
				send()
				if f, ok := rd.Next(); ok {
					f.Release()
				}
			})
			if n == 0 {
				break
			}
		}
		if n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if raw.Sent() == 0 || dgram.Sent() == 0 || ringed.Sent() == 0 {
		t.Errorf("%d, %d, %d frames sent", raw.Sent(), dgram.Sent(), ringed.Sent())
	}
}

// A device that is not ready refuses the frame before any socket has seen it.
func TestFrameThatTheDeviceIsNotReadyFor(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	_, other := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	transmitted := 0
	dev.SetTransmit(func(*rxring.Packet) error { transmitted++; return nil })
	var bypass bool
	for _, refused := range []error{syscall.EAGAIN, errors.New("no reason"), nil} {
		dev.SetTransmitReady(func(p *rxring.Packet) error { bypass = p.Bypass; return refused })
		want := refused
		if errno := syscall.Errno(0); refused != nil && !errors.As(refused, &errno) {
			want = syscall.ENOBUFS
		}
		if _, err := s.Send(rxtest.Frame(100)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if _, ok := other.Next(); ok != (refused == nil) || transmitted > 0 != ok {
			t.Errorf("refused with %v: seen %v, %d transmitted", refused, ok, transmitted)
		}
	}
	rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptQdiscBypass, rxtest.Int(1)))
	if _, err := s.Send(rxtest.Frame(100)); err != nil || !bypass {
		t.Errorf("with PACKET_QDISC_BYPASS: %v, Packet.Bypass %v", err, bypass)
	}
	dev.SetTransmitReady(nil)
	rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptQdiscBypass, rxtest.Int(0)))
	dev.SetTransmit(func(*rxring.Packet) error { return syscall.EAGAIN })
	if _, err := s.Send(rxtest.Frame(100)); !errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EAGAIN) {
		t.Errorf("%v, want ENOBUFS: the frame must not be sent again", err)
	}
	dev.SetTransmit(nil)
	if _, err := s.Send(rxtest.Frame(100)); err != nil || bypass != true {
		t.Errorf("%v: the function is still called", err)
	}
	if n := s.Sent(); n != 3 {
		t.Errorf("%d frames sent, want 3", n)
	}
}
