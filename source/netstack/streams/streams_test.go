package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/netstack"
	"github.com/rxring/rxring/source/netstack/streams/payload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testAddr = [6]byte{0x02, 0, 0, 0, 0, 0x10}

// checker verifies every frame that a Source delivers, in the call that
// delivers it.
type checker struct {
	t        *testing.T
	frames   atomic.Int64
	data     atomic.Int64 // frames with payload
	large    atomic.Int64 // frames longer than 60000 bytes
	outgoing atomic.Int64
	arps     atomic.Int64
	now, top atomic.Int64 // goroutines inside Deliver: at the moment, at most
	stopped  atomic.Bool

	mu    sync.Mutex
	seen  map[uint16]int
	bases map[uint16]uint32 // sequence number of a stream's first byte
}

func newChecker(t *testing.T) *checker {
	return &checker{t: t, seen: make(map[uint16]int), bases: make(map[uint16]uint32)}
}

func (c *checker) Deliver(p *rxring.Packet) {
	now := c.now.Add(1)
	defer c.now.Add(-1)
	for top := c.top.Load(); now > top && !c.top.CompareAndSwap(top, now); top = c.top.Load() {
	}
	if c.stopped.Load() {
		c.t.Error("delivered after Close")
	}
	c.frames.Add(1)
	if err := c.check(p); err != nil {
		c.t.Error(err)
	}
}

// streams returns how many streams were seen so far.
func (c *checker) streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

func (c *checker) check(p *rxring.Packet) error {
	eth := header.Ethernet(p.Data)
	src, dst := eth.SourceAddress(), eth.DestinationAddress()
	mine := tcpip.LinkAddress(testAddr[:])
	if p.Outgoing {
		c.outgoing.Add(1)
	}
	if p.Outgoing != (src == mine) || p.Outgoing == (dst == mine) {
		return fmt.Errorf("outgoing %v, but from %v to %v", p.Outgoing, src, dst)
	}
	length := len(p.Data)
	for _, r := range p.Rest {
		length += len(r)
	}
	if length > 60000 {
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

	frame := make([]byte, 0, length)
	frame = append(frame, p.Data...)
	for _, r := range p.Rest {
		frame = append(frame, r...)
	}
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	if !ip.IsValid(len(ip)) || int(ip.TotalLength()) != len(ip) {
		return fmt.Errorf("IP header says %d bytes, the frame has %d", ip.TotalLength(), len(ip))
	}
	if !ip.IsChecksumValid() {
		return errors.New("IP header checksum is wrong")
	}
	segment := header.TCP(ip.Payload())
	body := segment.Payload()
	headers := length - len(body)

	partial := segment.Flags()&header.TCPFlagSyn == 0
	if want := map[bool]rxring.ChecksumState{true: rxring.ChecksumPartial}[partial]; p.Checksum != want && segment.Flags()&header.TCPFlagRst == 0 {
		return fmt.Errorf("checksum state %d with TCP flags %v", p.Checksum, segment.Flags())
	}
	if p.Checksum == rxring.ChecksumPartial && (p.ChecksumStart != 14+20 || p.ChecksumOffset != 16) {
		return fmt.Errorf("checksum to do from byte %d, at %d: want 34, 16", p.ChecksumStart, p.ChecksumOffset)
	}
	mss := p.GSO.Size // gVisor leaves room for some or all TCP options
	wantGSO := rxring.GSO{}
	if len(body) > 1448 {
		wantGSO = rxring.GSO{Type: rxring.GSOTCPv4, Size: mss, HdrLen: uint16(headers)}
	}
	if p.GSO != wantGSO {
		return fmt.Errorf("%d bytes of payload: GSO %+v, want %+v", len(body), p.GSO, wantGSO)
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
	if len(p.Data) == headers && len(p.Rest) == 1 {
		if scattered, err := payload.Verify(p.Rest[0]); err != nil || scattered != at {
			return fmt.Errorf("scattered: %v, %v; joined: %v", scattered, err, at)
		}
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

func TestEveryDeliveredSegmentIsThePieceOfItsStreamThatItsHeadersSay(t *testing.T) {
	for _, flows := range []int{0, 1, MaxFlows} {
		t.Run(fmt.Sprintf("%d flows", flows), func(t *testing.T) {
			c := newChecker(t)
			s, err := start(c, testAddr, 1500, MaxLen, Config{Flows: flows})
			if err != nil {
				t.Fatal(err)
			}
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
			c.stopped.Store(true)
			if err := s.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}

			if len(c.seen) != want {
				t.Errorf("%d streams seen, want %d: %v", len(c.seen), want, c.seen)
			}
			if c.arps.Load() == 0 {
				t.Error("the addresses were not resolved by ARP")
			}
			data, large := c.data.Load(), c.large.Load()
			t.Logf("%d frames, %d with payload, %d (%.0f %%) of these above 60000 bytes; at most %d in Deliver at once; %+v",
				c.frames.Load(), data, large, 100*float64(large)/float64(data), c.top.Load(), s.Stats())
			// With many flows so few segments are still those of the slow start.
			if want <= defaultFlows && large*2 < data {
				t.Errorf("%d of %d data frames above 60000 bytes, want most", large, data)
			}
			st := s.Stats()
			if got := int64(st.SentFrames + st.ReceivedFrames); got != c.frames.Load() {
				t.Errorf("Stats count %d frames, %d were delivered", got, c.frames.Load())
			}
		})
	}
}

func TestSourceIsRefusedWithTheValueAndItsRange(t *testing.T) {
	tests := []struct {
		name  string
		mtu   int
		flows int
		want  string
	}{
		{"fewer than one flow", 1500, -2, "-2 flows: must be 1 to 256"},
		{"more flows than streams are allowed", 1500, 257, "257 flows: must be 1 to 256"},
		{"an MTU below what IPv4 hosts must take", 575, 1, "MTU of 575 bytes: must be 576 to 65535"},
		{"an MTU beyond the IP length", 65536, 1, "MTU of 65536 bytes: must be 576 to 65535"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := start(newChecker(t), testAddr, tt.mtu, MaxLen, Config{Flows: tt.flows})
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
	for range 20 {
		s, err := start(discard{}, testAddr, 1500, MaxLen, Config{Flows: 8})
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

type discard struct{}

func (discard) Deliver(*rxring.Packet) {}

// copier does what one socket with a ring costs at least.
type copier struct{ next atomic.Uint32 }

var copierSlots [16][1 << 17]byte

func (c *copier) Deliver(p *rxring.Packet) {
	slot := &copierSlots[c.next.Add(1)%16]
	n := copy(slot[:], p.Data)
	for _, r := range p.Rest {
		n += copy(slot[n:], r)
	}
	binary.LittleEndian.PutUint32(slot[n:], uint32(n))
}

func BenchmarkStreams(b *testing.B) {
	for _, bench := range []struct {
		name string
		sink netstack.Deliverer
	}{{"nobody looks", discard{}}, {"one copy", new(copier)}} {
		for _, flows := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("%s/%d flows", bench.name, flows), func(b *testing.B) {
				s, err := start(bench.sink, testAddr, 1500, MaxLen, Config{Flows: flows})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				first, begin := s.Stats(), time.Now()
				for s.Stats().SentLarge-first.SentLarge < uint64(b.N) {
					time.Sleep(100 * time.Microsecond)
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
