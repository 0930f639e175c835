package conn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/conn"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// memory is a connection whose reads and writes are of any length.
type memory struct {
	net.Conn
	io.Reader
	io.Writer
}

func (m memory) Read(b []byte) (int, error)  { return m.Reader.Read(b) }
func (m memory) Write(b []byte) (int, error) { return m.Writer.Write(b) }

func newDevice(t testing.TB) (*rxring.Device, *ring.Reader) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "vm0"})
	return dev, attach(t, ns)
}

func attach(t testing.TB, ns *rxring.Namespace) *ring.Reader {
	t.Helper()
	return open(t, ns, tpacket.Req{BlockSize: 1 << 18, BlockNr: 16, FrameSize: 1 << 17, FrameNr: 32})
}

func open(t testing.TB, ns *rxring.Namespace, r tpacket.Req) *ring.Reader {
	t.Helper()
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, r)
	return rd
}

// frame returns an Ethernet frame of size bytes to another host.
func frame(n byte, size int) []byte {
	return append([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00"), bytes.Repeat([]byte{n}, size-14)...)
}

// framings have lengths of this many bytes.
var framings = []struct {
	name    string
	framing conn.Framing
	length  func(n int) []byte
	greeted [2]int // bytes read and written before the first frame
}{
	{"QEMU", conn.QEMU, func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }, [2]int{}},
	{"HyperKit", conn.HyperKit, func(n int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }, [2]int{}},
	{"VPNKit", conn.VPNKit, func(n int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }, [2]int{49 + 41, 49 + 258}},
}

// expect checks the next frame of a ring.
func expect(t *testing.T, rd *ring.Reader, outgoing bool, data []byte, length int) {
	t.Helper()
	f := rxtest.Next(t, rd)
	defer f.Release()
	if !bytes.Equal(f.Data, data) || f.Len != length || (f.From.Pkttype == tpacket.PacketOutgoing) != outgoing {
		t.Errorf("frame of %d bytes, %d of them here, type %d: want %d, %d, outgoing %v", f.Len, len(f.Data), f.From.Pkttype, length, len(data), outgoing)
	}
}

func expectNone(t *testing.T, rd *ring.Reader) {
	t.Helper()
	if f, ok := rd.Next(); ok {
		t.Errorf("one frame too many: %d bytes", f.Len)
	}
}

func TestFramesAreFoundHoweverTheirBytesPass(t *testing.T) {
	need.Time(t, "it sends for a while")
	for _, tt := range framings {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(30) {
				random := rand.New(rand.NewPCG(seed, 0))
				var frames [][]byte
				for n := range byte(20) {
					frames = append(frames, frame(n, 14+random.IntN(map[bool]int{true: 9000, false: 50}[random.IntN(10) == 0])))
				}
				stream := func(greeting int) []byte {
					s := make([]byte, greeting)
					for _, f := range frames {
						s = append(s, tt.length(0)...) // empty frames are none
						s = append(append(s, tt.length(len(f))...), f...)
					}
					return s
				}
				in, out := stream(tt.greeted[0]), stream(tt.greeted[1])
				piece := func(left int) int { return min(left, 1+random.IntN(1+random.IntN(3000))) }

				dev, rd := newDevice(t)
				var written bytes.Buffer
				c := conn.Wrap(memory{Reader: bytes.NewReader(in), Writer: &written}, dev, tt.framing)
				for got := 0; got < len(in); {
					b := make([]byte, piece(len(in)-got))
					n, err := c.Read(b)
					if err != nil || !bytes.Equal(b[:n], in[got:got+n]) {
						t.Fatalf("Read: %v, or other bytes than the connection's", err)
					}
					got += n
				}
				for _, f := range frames {
					expect(t, rd, false, f, len(f))
				}
				for left := out; len(left) > 0; {
					n := piece(len(left))
					if m, err := c.Write(left[:n]); m != n || err != nil {
						t.Fatalf("Write returns %d, %v: want %d", m, err, n)
					}
					left = left[n:]
				}
				if !bytes.Equal(written.Bytes(), out) {
					t.Error("other bytes were written")
				}
				for _, f := range frames {
					expect(t, rd, true, f, len(f))
				}
				expectNone(t, rd)
				if dev.Malformed() != 0 {
					t.Errorf("seed %d: %d malformed frames", seed, dev.Malformed())
				}
			}
		})
	}
}

func TestDatagramsAreFramesThemselves(t *testing.T) {
	dev, rd := newDevice(t)
	host, guest := net.Pipe()
	defer guest.Close()
	c := conn.Wrap(host, dev, conn.Datagram)
	defer c.Close()
	go func() {
		guest.Write(frame(1, 60))
		guest.Read(make([]byte, 100))
	}()
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || !bytes.Equal(b[:n], frame(1, 60)) {
		t.Errorf("Read: %v, % x", err, b[:n])
	}
	if _, err := c.Write(frame(2, 70)); err != nil {
		t.Error(err)
	}
	expect(t, rd, false, frame(1, 60), 60)
	expect(t, rd, true, frame(2, 70), 70)
	expectNone(t, rd)
}

// A frame whose beginning passed before a socket was attached is not delivered; the next is.
func TestReaderThatAttachesWithinAFrameGetsTheNext(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "vm0"})
	var stream []byte
	for n := range byte(3) {
		stream = append(append(stream, framings[0].length(60)...), frame(n, 60)...)
	}
	c := conn.Wrap(memory{Reader: bytes.NewReader(stream)}, dev, conn.QEMU)
	b := make([]byte, len(stream))
	read := func(n int) {
		t.Helper()
		if _, err := io.ReadFull(c, b[:n]); err != nil {
			t.Fatal(err)
		}
	}
	read(64 + 4 + 30)
	rd := attach(t, ns)
	read(30 + 64)
	expect(t, rd, false, frame(2, 60), 60)
	expectNone(t, rd)

	// A length that has passed before is no part of a frame.
	c = conn.Wrap(memory{Reader: bytes.NewReader(stream)}, dev, conn.QEMU)
	read(64)
	expect(t, rd, false, frame(0, 60), 60)
}

func TestFrameOfAnyLengthIsDeliveredTruncated(t *testing.T) {
	dev, rd := newDevice(t)
	const length = 10 << 20
	stream := io.MultiReader(bytes.NewReader(framings[0].length(length)), bytes.NewReader(frame(1, length)), bytes.NewReader(framings[0].length(60)), bytes.NewReader(frame(2, 60)))
	c := conn.Wrap(memory{Reader: stream}, dev, conn.QEMU)
	if n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, make([]byte, 5000)); n != length+4+64 || err != nil {
		t.Errorf("%d bytes read, %v", n, err)
	}
	const kept = 1<<16 + 18
	expect(t, rd, false, frame(1, length)[:kept], length)
	expect(t, rd, false, frame(2, 60), 60)
	expectNone(t, rd)
}

// An incomplete Write can be continued: its frame is delivered once.
func TestWriteThatIsContinuedDeliversAFrameOnce(t *testing.T) {
	dev, rd := newDevice(t)
	var written bytes.Buffer
	short := &limited{w: &written, n: 10}
	c := conn.Wrap(memory{Writer: short}, dev, conn.QEMU)
	b := append(framings[0].length(60), frame(1, 60)...)
	n, err := c.Write(b)
	if n != 10 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write returns %d, %v", n, err)
	}
	short.n = 1000
	if _, err := c.Write(b[n:]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append(framings[0].length(70), frame(2, 70)...)); err != nil {
		t.Fatal(err)
	}
	expect(t, rd, true, frame(1, 60), 60)
	expect(t, rd, true, frame(2, 70), 70)
	expectNone(t, rd)
}

// gvisor-tap-vsock repeats a Write of a datagram while the socket's buffer is full.
func TestDatagramThatIsWrittenAgainIsDeliveredOnce(t *testing.T) {
	dev, rd := newDevice(t)
	full := &limited{w: io.Discard}
	c := conn.Wrap(memory{Writer: full}, dev, conn.Datagram)
	for range 3 {
		if _, err := c.Write(frame(1, 60)); err == nil {
			t.Fatal("written to a full buffer")
		}
	}
	full.n = 1000
	for _, f := range [][]byte{frame(1, 60), frame(1, 60), frame(2, 70)} { // the second is another one
		if _, err := c.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, rd, true, frame(1, 60), 60)
	expect(t, rd, true, frame(1, 60), 60)
	expect(t, rd, true, frame(2, 70), 70)
	expectNone(t, rd)
}

// limited writes n bytes at most.
type limited struct {
	w io.Writer
	n int
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.n {
		n, _ := l.w.Write(b[:l.n])
		return n, os.ErrDeadlineExceeded
	}
	return l.w.Write(b)
}

func TestAddedDeviceIsRemovedByClose(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	host, guest := net.Pipe()
	defer guest.Close()
	c, err := conn.Add(ns, host, conn.QEMU, conn.Config{Name: "vm0", MTU: 1400})
	rxtest.Must(t, err)
	if dev, ok := ns.DeviceByName("vm0"); !ok || dev.MTU() != 1400 {
		t.Errorf("device %+v", dev)
	}
	if _, err := conn.Add(ns, host, conn.QEMU, conn.Config{Name: "vm0"}); err == nil || err.Error() != `conn: device name "vm0": want one that is not taken` {
		t.Errorf("error %v", err)
	}
	rxtest.Must(t, c.SetDeadline(time.Now().Add(-time.Second)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read after the deadline: %v", err)
	}
	rxtest.Must(t, c.Close(), c.Close())
	if _, ok := ns.DeviceByName("vm0"); ok {
		t.Error("vm0 is left")
	}
}

type readWriteCloser struct {
	io.Reader
	io.Writer
	io.Closer
}

func TestReadWriterHasAPacketInEachCall(t *testing.T) {
	for _, readsOutgoing := range []bool{false, true} {
		dev, rd := newDevice(t)
		var written bytes.Buffer
		failure := errors.New("link is down")
		rw := conn.ReadWriter(readWriteCloser{io.MultiReader(bytes.NewReader(frame(1, 60)), iotest.ErrReader(failure)), &written, io.NopCloser(nil)}, dev, readsOutgoing)
		b := make([]byte, 100)
		if n, err := rw.Read(b); n != 60 || err != nil {
			t.Errorf("Read returns %d, %v", n, err)
		}
		if n, err := rw.Read(b); n != 0 || !errors.Is(err, failure) {
			t.Errorf("Read returns %d, %v", n, err)
		}
		if n, err := rw.Write(frame(2, 70)); n != 70 || err != nil || written.Len() != 70 {
			t.Errorf("Write returns %d, %v", n, err)
		}
		expect(t, rd, readsOutgoing, frame(1, 60), 60)
		expect(t, rd, !readsOutgoing, frame(2, 70), 70)
		expectNone(t, rd)
		rxtest.Must(t, rw.Close())
	}
}

// FuzzStream reads any bytes in any pieces: what passes is unchanged, and no frame is longer
// than what was announced.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0e\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\xff\xff\xff\xff"), uint8(0), uint8(3))
	f.Add([]byte("\x0e\x00\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00"), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, framing, piece uint8) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "vm0"})
		rd := open(t, ns, rxtest.SmallRing)
		fr := framings[int(framing)%len(framings)].framing
		c := conn.Wrap(memory{Reader: bytes.NewReader(stream)}, dev, fr)
		var got []byte
		b := make([]byte, 1+int(piece))
		for {
			n, err := c.Read(b)
			got = append(got, b[:n]...)
			if err != nil {
				break
			}
			for {
				f, ok := rd.Next()
				if !ok {
					break
				}
				if f.Len > len(got) || !bytes.Contains(got, f.Data) {
					t.Errorf("a frame of %d bytes after %d bytes", f.Len, len(got))
				}
				f.Release()
			}
		}
		if !bytes.Equal(got, stream) {
			t.Error("other bytes were read")
		}
	})
}
