package tun_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/tun"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event is a fork's type of events.
type event int

// pipe is a TUN device in memory. Like the real one, it changes the buffers that are written.
type pipe struct {
	name    string
	nameErr error
	mtu     func() (int, error)
	events  chan event
	reads   chan []read // one element for each Read
	closed  chan struct{}
	closing sync.Once
	written [][]byte
	gro     []string
}

// read is a packet that Read returns; without bytes, a size of 0.
type read struct {
	packet []byte
	err    error // that Read returns beside packets
}

func newPipe() *pipe {
	return &pipe{
		name:   "tun7",
		mtu:    func() (int, error) { return 1420, nil },
		events: make(chan event, 1),
		reads:  make(chan []read, 100),
		closed: make(chan struct{}),
	}
}

func (p *pipe) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	select {
	case batch := <-p.reads:
		for i, r := range batch {
			sizes[i] = copy(bufs[i][offset:], r.packet)
			err = errors.Join(err, r.err)
		}
		return len(batch), err
	case <-p.closed:
		return 0, os.ErrClosed
	}
}

func (p *pipe) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		p.written = append(p.written, bytes.Clone(b[offset:]))
		clear(b)
	}
	return len(bufs), nil
}

func (p *pipe) Close() error {
	p.closing.Do(func() {
		close(p.closed)
		close(p.events)
	})
	return nil
}

func (p *pipe) File() *os.File        { return nil }
func (p *pipe) MTU() (int, error)     { return p.mtu() }
func (p *pipe) Name() (string, error) { return p.name, p.nameErr }
func (p *pipe) Events() <-chan event  { return p.events }
func (p *pipe) BatchSize() int        { return 4 }
func (p *pipe) DisableUDPGRO()        { p.gro = append(p.gro, "udp") }
func (p *pipe) DisableTCPGRO()        { p.gro = append(p.gro, "tcp") }

// ipv4 returns an IPv4 packet of size bytes, the last of which is n.
func ipv4(n byte, size int) []byte {
	b := make([]byte, size)
	b[0], b[2], b[3], b[8], b[9] = 0x45, byte(size>>8), byte(size), 64, 17
	b[size-1] = n
	return b
}

func ipv6(n byte) []byte {
	b := make([]byte, 41)
	b[0], b[40] = 0x60, n
	return b
}

// add returns a device around inner and the reader of a socket on all devices.
func add(t *testing.T, inner *pipe, c tun.Config) (*tun.Device[event], *rxring.Namespace, *ring.Reader) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := tun.Add(ns, inner, c)
	rxtest.Must(t, err)
	t.Cleanup(func() { d.Close() })
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 2048, FrameNr: 32})
	return d, ns, rd
}

// newBuffers returns what WireGuard calls Read with.
func newBuffers() (bufs [][]byte, sizes []int) {
	for range 4 {
		bufs = append(bufs, make([]byte, 1500))
	}
	return bufs, make([]int, 4)
}

// expect checks the next frame of a ring.
func expect(t *testing.T, rd *ring.Reader, typ tpacket.PacketType, frame []byte) {
	t.Helper()
	f := rxtest.Next(t, rd)
	defer f.Release()
	if f.From.Pkttype != typ || !bytes.Equal(f.Data, frame) {
		t.Errorf("type %d, % x; want %d, % x", f.From.Pkttype, f.Data, typ, frame)
	}
}

func expectNone(t *testing.T, rd *ring.Reader) {
	t.Helper()
	if f, ok := rd.Next(); ok {
		t.Errorf("one frame too many: % x", f.Data)
	}
}

const offset = 16

func TestEachPacketIsDeliveredOnceAsItsBytesAre(t *testing.T) {
	for _, ethernet := range []bool{false, true} {
		t.Run(fmt.Sprintf("ethernet=%v", ethernet), func(t *testing.T) {
			inner := newPipe()
			d, ns, rd := add(t, inner, tun.Config{Ethernet: ethernet})
			dev, ok := ns.DeviceByName("tun7")
			if !ok || dev.MTU() != 1420 || dev.Segments() {
				t.Fatalf("device %+v: want the inner device's name, its MTU, and no segments", dev)
			}
			frame := func(outgoing bool, packet []byte) []byte {
				if !ethernet {
					return packet
				}
				mac := dev.HardwareAddr()
				dst, src := mac, mac
				if outgoing {
					dst[5] ^= 1
				} else {
					src[5] ^= 1
				}
				etherType := map[byte][]byte{4: {0x08, 0x00}, 6: {0x86, 0xdd}}[packet[0]>>4]
				return bytes.Join([][]byte{dst[:], src[:], etherType, packet}, nil)
			}

			failure := errors.New("too many segments")
			inner.reads <- []read{{packet: ipv4(1, 60)}, {}, {packet: ipv6(2), err: failure}}
			bufs, sizes := newBuffers()
			n, err := d.Read(bufs, sizes, offset)
			if n != 3 || !errors.Is(err, failure) || sizes[0] != 60 || sizes[1] != 0 || sizes[2] != 41 {
				t.Errorf("Read returns %d, %v, sizes %d: want what the inner device returns", n, err, sizes)
			}
			expect(t, rd, tpacket.PacketOutgoing, frame(true, ipv4(1, 60)))
			expect(t, rd, tpacket.PacketOutgoing, frame(true, ipv6(2)))

			var packets [][]byte
			for _, p := range [][]byte{ipv4(3, 50), {}, ipv6(4)} {
				packets = append(packets, append(make([]byte, offset), p...))
			}
			if n, err := d.Write(packets, offset); n != 3 || err != nil {
				t.Errorf("Write returns %d, %v", n, err)
			}
			expect(t, rd, tpacket.PacketHost, frame(false, ipv4(3, 50)))
			expect(t, rd, tpacket.PacketHost, frame(false, ipv6(4)))
			expectNone(t, rd)
			if len(inner.written) != 3 || !bytes.Equal(inner.written[2], ipv6(4)) {
				t.Errorf("the inner device was written % x", inner.written)
			}
			if dev.Malformed() != 0 {
				t.Errorf("%d malformed packets: those without bytes should not be delivered", dev.Malformed())
			}
		})
	}
}

func TestDeviceFollowsTheInnerDevicesMTU(t *testing.T) {
	inner := newPipe()
	mtu := make(chan int, 1)
	inner.mtu = func() (int, error) {
		select {
		case n := <-mtu:
			return n, nil
		default:
			return 1420, nil
		}
	}
	d, ns, _ := add(t, inner, tun.Config{Name: "wg0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	dev, _ := ns.DeviceByName("wg0")
	if p := dev.Prefixes(); len(p) != 1 {
		t.Errorf("prefixes %v", p)
	}
	for _, c := range []struct{ inner, want int }{{1280, 1280}, {-1, 1280}, {0, 1280}, {1 << 20, 1280}, {9000, 9000}} {
		mtu <- c.inner
		inner.events <- 4
		if e := <-d.Events(); e != 4 {
			t.Errorf("event %v, want 4", e)
		}
		if dev.MTU() != c.want {
			t.Errorf("MTU %d once the inner device has %d, want %d", dev.MTU(), c.inner, c.want)
		}
	}
}

func TestCloseRemovesTheDeviceThatAddMade(t *testing.T) {
	inner := newPipe()
	d, ns, _ := add(t, inner, tun.Config{Name: "wg0"})
	inner.events <- 1 // not received
	rxtest.Must(t, d.Close(), d.Close())
	if _, ok := ns.DeviceByName("wg0"); ok {
		t.Error("wg0 is left")
	}
	for range d.Events() { // ends
	}
	bufs, sizes := newBuffers()
	if _, err := d.Read(bufs, sizes, offset); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}

	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "wg1", Type: rxring.RawIP})
	rxtest.Must(t, tun.Wrap[event](newPipe(), dev).Close())
	if _, ok := ns.DeviceByName("wg1"); !ok {
		t.Error("Close has removed a device that Add did not make")
	}
}

func TestAddRefusesAnInnerDeviceWithAnError(t *testing.T) {
	failure := errors.New("no such ioctl")
	for _, tt := range []struct {
		name  string
		inner func(p *pipe)
		c     tun.Config
		want  string
	}{
		{"no MTU", func(p *pipe) { p.mtu = func() (int, error) { return 0, failure } }, tun.Config{}, "tun: MTU of the inner device: no such ioctl"},
		{"an MTU that no device has", func(p *pipe) { p.mtu = func() (int, error) { return 20, nil } }, tun.Config{}, "tun: device tun7: MTU 20: want 68 to"},
		{"no name", func(p *pipe) { p.nameErr = failure }, tun.Config{}, "tun: name of the inner device: no such ioctl; set Config.Name"},
		{"a name that is taken", func(p *pipe) {}, tun.Config{Name: "wg0"}, `tun: device name "wg0": want one that is not taken`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "wg0"})
			inner := newPipe()
			tt.inner(inner)
			if _, err := tun.Add(ns, inner, tt.c); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestGROIsDisabledOnTheInnerDevice(t *testing.T) {
	inner := newPipe()
	d, _, _ := add(t, inner, tun.Config{})
	d.DisableUDPGRO()
	d.DisableTCPGRO()
	if len(inner.gro) != 2 {
		t.Errorf("disabled %q on the inner device", inner.gro)
	}
	without := tun.Wrap[event](struct{ tun.Inner[event] }{newPipe()}, d.Tap())
	without.DisableUDPGRO() // does not panic
	without.DisableTCPGRO()
	without.Close()
}

func TestReadReturnsWhatPacketSocketsSend(t *testing.T) {
	for _, ethernet := range []bool{false, true} {
		t.Run(fmt.Sprintf("ethernet=%v", ethernet), func(t *testing.T) {
			inner := newPipe()
			d, ns, rd := add(t, inner, tun.Config{Ethernet: ethernet, Send: true})
			sender := rxtest.OpenSender(t, ns, d.Tap(), rxring.SockRaw)
			frame := func(packet []byte) []byte {
				if ethernet {
					return append([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00"), packet...)
				}
				return packet
			}
			bufs, sizes := newBuffers()
			got := make(map[byte]int) // by last byte of the packet
			next := func(packets int) {
				for packets > 0 {
					n, err := d.Read(bufs, sizes, offset)
					rxtest.Must(t, err)
					for i := range n {
						got[bufs[i][offset+sizes[i]-1]]++
					}
					packets -= n
				}
			}
			inner.reads <- []read{{packet: ipv4(1, 60)}, {packet: ipv4(2, 60)}}
			next(2)
			for n := byte(3); n < 9; n++ {
				_, err := sender.Send(frame(ipv4(n, 60)))
				rxtest.Must(t, err)
			}
			inner.reads <- []read{{packet: ipv4(9, 60)}}
			next(7)
			for n := byte(1); n <= 9; n++ {
				if got[n] != 1 {
					t.Errorf("packet %d was read %d times", n, got[n])
				}
				f := rxtest.Next(t, rd)
				if f.From.Pkttype != tpacket.PacketOutgoing {
					t.Errorf("a packet of type %d", f.From.Pkttype)
				}
				f.Release()
			}
			expectNone(t, rd)
		})
	}
}

func TestReadReturnsErrorsAndBatchesOfTheInnerDevice(t *testing.T) {
	inner := newPipe()
	d, _, rd := add(t, inner, tun.Config{Send: true})
	failure := errors.New("too many segments")
	inner.reads <- []read{{packet: ipv4(1, 60)}, {packet: ipv4(2, 60)}, {packet: ipv4(3, 60), err: failure}}
	bufs, sizes := newBuffers()
	n, err := d.Read(bufs, sizes, offset)
	if n != 3 || !errors.Is(err, failure) {
		t.Errorf("Read returns %d, %v", n, err)
	}
	inner.reads <- []read{{packet: ipv4(4, 60)}, {packet: ipv4(5, 60)}}
	for _, want := range []byte{4, 5} { // fewer buffers than packets
		if n, err := d.Read(bufs[:1], sizes[:1], offset); n != 1 || err != nil || bufs[0][offset+59] != want {
			t.Errorf("Read returns %d, %v, packet %d: want packet %d", n, err, bufs[0][offset+59], want)
		}
	}
	for n := byte(1); n <= 5; n++ {
		expect(t, rd, tpacket.PacketOutgoing, ipv4(n, 60))
	}
	expectNone(t, rd)

	read := make(chan error)
	go func() {
		_, err := d.Read(bufs, sizes, offset)
		read <- err
	}()
	time.Sleep(time.Millisecond) // it waits, or not yet
	d.Close()
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read returns %v after Close", err)
	}
}

func TestSentFramesAreRefusedWithAnErrno(t *testing.T) {
	inner := newPipe()
	d, ns, _ := add(t, inner, tun.Config{Send: true})
	sender := rxtest.OpenSender(t, ns, d.Tap(), rxring.SockRaw)
	for _, frame := range [][]byte{{0x00}, {0x55, 0, 0, 20}} {
		if _, err := sender.Send(frame); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("% x: %v, want EINVAL", frame, err)
		}
	}
	sent := 0
	for ; sent < 1000; sent++ {
		if _, err := sender.Send(ipv4(1, 60)); err != nil {
			if !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("error %v, want EAGAIN", err)
			}
			break
		}
	}
	bufs, sizes := newBuffers()
	for left := sent; left > 0; {
		n, err := d.Read(bufs, sizes, offset)
		rxtest.Must(t, err)
		left -= n
	}
	if _, err := sender.Send(ipv4(1, 60)); err != nil || sent == 1000 {
		t.Errorf("after %d packets were sent and read: %v", sent, err)
	}
}

// TestChecksumsOfSentPacketsAreComplete sends a UDP packet whose checksum is left to the card.
func TestChecksumsOfSentPacketsAreComplete(t *testing.T) {
	inner := newPipe()
	d, ns, _ := add(t, inner, tun.Config{Send: true})
	sender := rxtest.OpenSender(t, ns, d.Tap(), rxring.SockRaw)
	rxtest.Must(t, rxtest.SetInt(sender, tpacket.OptVnetHdr, 1))
	packet := ipv4(0, 28)
	const pseudo = 17 + 8 // the sum of the pseudo-header, whose addresses are 0
	packet[25], packet[27] = 8, pseudo
	header := []byte{1, 0, 0, 0, 0, 0, 20, 0, 6, 0} // VIRTIO_NET_HDR_F_NEEDS_CSUM, csum_start 20, csum_offset 6
	_, err := sender.Send(append(header, packet...))
	rxtest.Must(t, err)
	bufs, sizes := newBuffers()
	_, err = d.Read(bufs, sizes, offset)
	rxtest.Must(t, err)
	sum := 8 + pseudo // the UDP header's words
	if got, want := bufs[0][offset+26:offset+28], []byte{byte(^sum >> 8), byte(^sum)}; !bytes.Equal(got, want) {
		t.Errorf("checksum % x, want % x", got, want)
	}
}
