package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/netstack/streams/payload"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newDevice returns a device for streams with the default MTU and segments.
func newDevice(tb testing.TB) (*rxring.Namespace, *rxring.Device) {
	tb.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	return ns, rxtest.AddDevice(tb, ns, rxring.DeviceConfig{Name: "net0", MaxLen: MaxLen})
}

// checker verifies the frames that a socket on the device captures.
type checker struct {
	t      *testing.T
	mac    tcpip.LinkAddress // the device's
	socket *rxring.Socket
	stop   chan struct{} // the source is closed
	done   chan struct{} // all frames are verified

	data  atomic.Int64 // frames with payload
	large atomic.Int64 // frames longer than 60000 bytes
	arps  atomic.Int64

	mu    sync.Mutex
	seen  map[uint16]int
	bases map[uint16]uint32 // sequence number of a stream's first byte
}

func newChecker(t *testing.T, ns *rxring.Namespace, dev *rxring.Device) *checker {
	t.Helper()
	mac := dev.HardwareAddr()
	c := &checker{
		t: t, mac: tcpip.LinkAddress(mac[:]),
		stop: make(chan struct{}), done: make(chan struct{}),
		seen: make(map[uint16]int), bases: make(map[uint16]uint32),
	}
	var err error
	c.socket, err = ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	t.Cleanup(func() { c.socket.Close() })
	rxtest.Must(t, c.socket.SetVersion(tpacket.V2), rxtest.SetInt(c.socket, tpacket.OptVnetHdr, 1))
	rxtest.Must(t, c.socket.SetRxRing(tpacket.Req{BlockSize: 1 << 17, BlockNr: 256, FrameSize: 1 << 17, FrameNr: 256}))
	rd, err := c.socket.NewReader()
	rxtest.Must(t, err)
	go c.run(rd)
	return c
}

func (c *checker) run(rd *ring.Reader) {
	defer close(c.done)
	for stopped := false; ; {
		f, ok := rd.Next()
		switch {
		case ok:
			if err := c.check(&f); err != nil {
				c.t.Error(err)
			}
			f.Release()
		case stopped:
			return
		default:
			select {
			case <-c.stop:
				stopped = true
			case <-time.After(100 * time.Microsecond):
			}
		}
	}
}

// end verifies what is left, once the source is closed, and returns how many frames were
// delivered.
func (c *checker) end() uint64 {
	close(c.stop)
	<-c.done
	return c.socket.Totals().Offered()
}

// streams returns how many streams were seen so far.
func (c *checker) streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

func (c *checker) check(f *ring.Frame) error {
	eth := header.Ethernet(f.Data)
	src, dst := eth.SourceAddress(), eth.DestinationAddress()
	if outgoing := f.From.Pkttype == tpacket.PacketOutgoing; outgoing != (src == c.mac) || outgoing == (dst == c.mac) {
		return fmt.Errorf("outgoing %v, but from %v to %v", outgoing, src, dst)
	}
	if len(f.Data) > 60000 {
		c.large.Add(1)
	}
	switch eth.Type() {
	case header.ARPProtocolNumber:
		c.arps.Add(1)
		return nil
	case header.IPv4ProtocolNumber:
	default:
		return fmt.Errorf("ether type %#x", eth.Type())
	}

	ip := header.IPv4(f.Data[header.EthernetMinimumSize:])
	if !ip.IsValid(len(ip)) || int(ip.TotalLength()) != len(ip) {
		return fmt.Errorf("IP header says %d bytes, the frame has %d", ip.TotalLength(), len(ip))
	}
	if !ip.IsChecksumValid() {
		return errors.New("IP header checksum is wrong")
	}
	segment := header.TCP(ip.Payload())
	body := segment.Payload()
	if err := c.checkOffload(f, segment); err != nil {
		return err
	}
	if len(body) == 0 || len(body) == 1 && body[0] == 0 { // the latter: a window probe
		return nil
	}

	c.data.Add(1)
	if len(body) < payload.MinVerify {
		return nil
	}
	at, err := payload.Verify(body)
	if err != nil {
		return err
	}
	base := segment.SequenceNumber() - uint32(at.Offset)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[at.Stream]++
	if first, ok := c.bases[at.Stream]; ok && first != base {
		return fmt.Errorf("%v with sequence number %d: the stream starts at %d", at, segment.SequenceNumber(), first)
	}
	c.bases[at.Stream] = base
	return nil
}

// checkOffload checks the virtio_net_hdr and the status of a segment.
func (c *checker) checkOffload(f *ring.Frame, segment header.TCP) error {
	vnet := f.Headroom(10)
	gsoType, gsoSize := rxring.GSOType(vnet[1]), binary.NativeEndian.Uint16(vnet[4:])
	csumStart, csumOffset := binary.NativeEndian.Uint16(vnet[6:]), binary.NativeEndian.Uint16(vnet[8:])

	flags := segment.Flags()
	partial := f.Status&tpacket.StatusCsumNotReady != 0
	if want := flags&header.TCPFlagSyn == 0; partial != want && flags&header.TCPFlagRst == 0 {
		return fmt.Errorf("incomplete checksum %v with TCP flags %v", partial, flags)
	}
	if partial && (vnet[0] != 1 || csumStart != 14+20 || csumOffset != 16) {
		return fmt.Errorf("checksum to do from byte %d, at %d, flags %d: want 34, 16, 1", csumStart, csumOffset, vnet[0])
	}
	wantGSO := rxring.GSONone
	if len(segment.Payload()) > 1448 { // gVisor leaves room for some or all TCP options
		wantGSO = rxring.GSOTCPv4
	}
	if gsoType != wantGSO || (gsoSize != 0) != (wantGSO != rxring.GSONone) {
		return fmt.Errorf("%d bytes of payload: GSO type %d, size %d: want type %d", len(segment.Payload()), gsoType, gsoSize, wantGSO)
	}
	return nil
}

func TestEveryDeliveredSegmentIsThePieceOfItsStreamThatItsHeadersSay(t *testing.T) {
	for _, flows := range []int{0, 1, MaxFlows} {
		t.Run(fmt.Sprintf("%d flows", flows), func(t *testing.T) {
			ns, dev := newDevice(t)
			c := newChecker(t, ns, dev)
			s, err := Start(dev, Config{Flows: flows})
			rxtest.Must(t, err)
			want := flows
			if flows == 0 {
				want = defaultFlows
			}
			deadline := time.Now().Add(10 * time.Second)
			for (c.data.Load() < 400 || c.streams() < want) && time.Now().Before(deadline) && !t.Failed() {
				time.Sleep(time.Millisecond)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			delivered, st := c.end(), s.Stats()
			if err := s.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			if st.SentFrames+st.ReceivedFrames != delivered {
				t.Errorf("Stats count %d frames, %d were delivered", st.SentFrames+st.ReceivedFrames, delivered)
			}
			time.Sleep(time.Millisecond)
			if late := c.socket.Totals().Offered() - delivered; late != 0 {
				t.Errorf("%d frames were delivered after Close", late)
			}

			if len(c.seen) != want {
				t.Errorf("%d streams seen, want %d: %v", len(c.seen), want, c.seen)
			}
			if c.arps.Load() == 0 {
				t.Error("the addresses were not resolved by ARP")
			}
			data, large := c.data.Load(), c.large.Load()
			t.Logf("%d frames, %d with payload, %d (%.0f %%) of these above 60000 bytes; %+v", delivered, data, large, 100*float64(large)/float64(data), st)
			// With many flows so few segments are still those of the slow start.
			if want <= defaultFlows && large*2 < data {
				t.Errorf("%d of %d data frames above 60000 bytes, want most", large, data)
			}
		})
	}
}

func TestSourceIsRefusedWithTheValueAndItsRange(t *testing.T) {
	tests := []struct {
		name string
		mtu  int
		cfg  Config
		want string
	}{
		{"fewer than one flow", 1500, Config{Flows: -2}, "-2 flows: must be 1 to 256"},
		{"more flows than streams are allowed", 1500, Config{Flows: 257}, "257 flows: must be 1 to 256"},
		{"an MTU below what IPv4 hosts must take", 575, Config{Flows: 1}, "MTU of 575 bytes: must be 576 to 65535"},
		{"an MTU beyond the IP length", 65536, Config{Flows: 1}, "MTU of 65536 bytes: must be 576 to 65535"},
		{"a negative rate", 1500, Config{Rate: -1}, "rate of -1 segments per second: must not be negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", MTU: tt.mtu, MaxLen: MaxLen + 1})
			_, err := Start(dev, tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
	if _, err := Start(nil, Config{}); err == nil {
		t.Error("Start without a device succeeds")
	}
}

func TestCloseLeavesNoEndpointBehind(t *testing.T) {
	_, dev := newDevice(t)
	for range 20 {
		s, err := Start(dev, Config{Flows: 8})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if left := tcpip.GetDanglingEndpoints(); len(left) != 0 {
		t.Errorf("%d TCP endpoints left", len(left))
	}
}

// BenchmarkStreams is of a device without sockets, and of one with a ring.
func BenchmarkStreams(b *testing.B) {
	for _, watched := range []bool{false, true} {
		ns, dev := newDevice(b)
		drain := func() {}
		if watched {
			_, rd := rxtest.Open(b, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 17, BlockNr: 64, FrameSize: 1 << 17, FrameNr: 64})
			drain = func() { rxtest.Drain(rd) }
		}
		for _, flows := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("watched=%v/%d flows", watched, flows), func(b *testing.B) {
				s, err := Start(dev, Config{Flows: flows})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				first, begin := s.Stats(), time.Now()
				for s.Stats().SentLarge-first.SentLarge < uint64(b.N) {
					time.Sleep(100 * time.Microsecond)
					drain()
				}
				last, seconds := s.Stats(), time.Since(begin).Seconds()
				b.ReportMetric(float64(last.StreamBytes-first.StreamBytes)*8/1e9/seconds, "Gbit/s")
				b.ReportMetric(float64(last.SentFrames-first.SentFrames)/seconds, "frames/s")
				b.ReportMetric(float64(last.SentBytes-first.SentBytes)/float64(last.SentFrames-first.SentFrames), "B/frame")
			})
		}
	}
}

func TestRawIPDeviceIsRefused(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(dev, Config{}); err == nil || !strings.Contains(err.Error(), "tun0 has hardware type 65534") {
		t.Errorf("error %v", err)
	}
}

// A flow with a rate sends so many segments per second, and does not catch up after a pause.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		p := pacer{rate: 100}
		elapsed := func(n int) time.Duration {
			begin := time.Now()
			for range n {
				if !p.wait(stop) {
					t.Fatal("wait returned false, and nothing is closed")
				}
			}
			return time.Since(begin)
		}
		if got := elapsed(101); got != time.Second {
			t.Errorf("the first 101 segments take %v, want 1s", got)
		}
		time.Sleep(time.Minute)
		if got := elapsed(101); got != time.Second {
			t.Errorf("after a pause, 101 segments take %v, want 1s", got)
		}
		close(stop)
		p.wait(stop) // either case of select
		if p.next = time.Now().Add(time.Hour); p.wait(stop) {
			t.Error("wait returned true after the end")
		}
	})
}
