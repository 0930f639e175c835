package rxring_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// mapAll maps the socket's rings as a program would.
func mapAll(t *testing.T, s *rxring.Socket, size int) []byte {
	t.Helper()
	fd, err := s.Map(size)
	rxtest.Must(t, err)
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	rxtest.Must(t, err)
	return mem
}

// Of the tests below.
const (
	rxSize = 1 << 22
	txSize = 1 << 14
)

var (
	rxShape = tpacket.Req{BlockSize: 1 << 16, BlockNr: 64, FrameSize: 256, FrameNr: 64 << 16 / 256}
	txShape = tpacket.Req{BlockSize: txSize, BlockNr: 1, FrameSize: 2048, FrameNr: 8}
)

// TestRingsAreMappedInOnePiece: a transmit ring comes and goes beside a receive
// ring while packets come. None that got into the receive ring is lost, none is
// there twice, and those that came at the wrong moment are counted.
func TestRingsAreMappedInOnePiece(t *testing.T) {
	need.Time(t, "it maps large rings")
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
		t.Run(v.String(), func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
			rxtest.Must(t, err)
			defer s.Close()
			rxtest.Must(t, s.BindDevice(dev, 0), s.SetVersion(v), s.SetRxRing(rxShape))
			var delivered atomic.Uint64
			var wg sync.WaitGroup
			stop := make(chan struct{})
			wg.Go(func() {
				for i := uint32(0); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					b := rxtest.Frame(60)
					binary.BigEndian.PutUint32(b[14:], i)
					dev.Deliver(&rxring.Packet{Data: b})
					delivered.Add(1)
					time.Sleep(time.Microsecond)
				}
			})
			const rounds = 20
			for i := range rounds {
				rxtest.Must(t, s.SetTxRing(txShape))
				mem := mapAll(t, s, rxSize+txSize)
				rxtest.PutFrame(mem[rxSize:], v, rxtest.Frame(60))
				rxtest.Must(t, unix.Munmap(mem))
				if n, err := s.Send(nil); n != 60 || err != nil {
					t.Fatalf("round %d: sent %d bytes, %v", i, n, err)
				}
				rxtest.Must(t, s.SetTxRing(tpacket.Req{}), unix.Munmap(mapAll(t, s, rxSize)))
			}
			close(stop)
			wg.Wait()
			if b, ok := s.Ring().(*writer.Blocks); ok {
				b.Expire()
			}
			mem := mapAll(t, s, rxSize)
			defer unix.Munmap(mem)
			found := numbersIn(v, mem, rxShape)
			totals := s.Totals()
			if uint64(len(found)) != totals.Captured || totals.Offered() != delivered.Load() {
				t.Errorf("%d packets in the ring; %+v of %d delivered", len(found), totals, delivered.Load())
			}
			for i := 1; i < len(found); i++ {
				if found[i] <= found[i-1] {
					t.Fatalf("packet %d after %d", found[i], found[i-1])
				}
			}
			t.Logf("%d packets, moved %d times, %d found no room meanwhile", len(found), 2*rounds, totals.Drops[ring.NoRoom])
		})
	}
}

// numbersIn lists the packets of a receive ring by the number that they carry.
func numbersIn(v tpacket.Version, mem []byte, req tpacket.Req) (found []uint32) {
	number := func(b []byte, mac uint16) { found = append(found, binary.BigEndian.Uint32(b[int(mac)+14:])) }
	if v == tpacket.V3 {
		for i := range req.BlockNr {
			b := mem[i*req.BlockSize:][:req.BlockSize]
			d := tpacket.Parse[tpacket.BlockDesc](b)
			if d.Status == 0 {
				continue
			}
			at := d.OffsetToFirstPkt
			for range d.NumPkts {
				h := tpacket.Header3At(b[at:])
				number(b[at:], h.Mac)
				at += h.NextOffset
			}
		}
		return found
	}
	for i := range req.FrameNr {
		b := mem[i*req.FrameSize:][:req.FrameSize]
		if h := tpacket.Header1At(b); v == tpacket.V1 && h.Status != 0 {
			number(b, h.Mac)
		} else if h := tpacket.Header2At(b); v == tpacket.V2 && h.Status != 0 {
			number(b, h.Mac)
		}
	}
	return found
}

// TestTransmitRingStaysWhenAReceiveRingComesAndGoes: what is to be sent is sent, in
// order, whatever place in the mapping the ring has.
func TestTransmitRingStaysWhenAReceiveRingComesAndGoes(t *testing.T) {
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
		t.Run(v.String(), func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: rxSize + txSize})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			var sent []byte
			dev.SetTransmit(func(p *rxring.Packet) error { sent = append(sent, p.Data[14]); return nil })
			s := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
			rxtest.Must(t, s.SetVersion(v), s.SetTxRing(txShape))
			want := []byte{}
			for i := range 40 {
				rx := i % 2 * rxSize
				if rx > 0 {
					rxtest.Must(t, s.SetRxRing(rxShape))
				}
				mem := mapAll(t, s, rx+txSize)
				data := rxtest.Frame(60)
				data[14] = byte(i)
				rxtest.PutFrame(mem[rx+i%8*2048:], v, data)
				want = append(want, data[14])
				rxtest.Must(t, unix.Munmap(mem))
				if i%3 == 0 {
					_, err := s.Send(nil)
					rxtest.Must(t, err)
				}
				if rx > 0 {
					rxtest.Must(t, s.SetRxRing(tpacket.Req{}))
				}
			}
			if string(sent) != string(want) {
				t.Errorf("sent %d, want %d", sent, want)
			}
			rxtest.Must(t, s.Close())
		})
	}
}

// TestTransmitRingWithoutRoom: frames that the device has no room for stay due, and
// the next call sends them; none is sent twice.
func TestTransmitRingWithoutRoom(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	var sent []byte
	room := 2
	dev.SetTransmitReady(func(*rxring.Packet) error {
		if len(sent) == room {
			return syscall.EAGAIN
		}
		return nil
	})
	dev.SetTransmit(func(p *rxring.Packet) error { sent = append(sent, p.Data[14]); return nil })
	s := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetTxRing(txShape))
	mem := mapAll(t, s, txSize)
	defer unix.Munmap(mem)
	for i := range 5 {
		data := rxtest.Frame(60)
		data[14] = byte(i)
		rxtest.PutFrame(mem[i*2048:], tpacket.V2, data)
	}
	for _, call := range []struct {
		room, frames int
		err          error
	}{{2, 2, syscall.EAGAIN}, {2, 0, syscall.EAGAIN}, {9, 3, nil}} {
		room = call.room
		if n, err := s.Send(nil); n != call.frames*len(rxtest.Frame(60)) || !errors.Is(err, call.err) {
			t.Errorf("room for %d: %d bytes, %v, want %d frames and %v", room, n, err, call.frames, call.err)
		}
	}
	if string(sent) != "\x00\x01\x02\x03\x04" {
		t.Errorf("sent %d", sent)
	}
}

// TestOnlyPacketsWakeAReader: a program that polls its ring is not woken while the ring is requested
// and moved, and is for a packet in the new place.
func TestOnlyPacketsWakeAReader(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	w := new(countingWaker)
	s.Arm(w)
	rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetRxRing(rxShape), s.SetTxRing(txShape))
	before := s.Ring()
	defer unix.Munmap(mapAll(t, s, rxSize+txSize))
	if s.Ring() == before {
		t.Error("the ring has not moved")
	}
	if w.Load() != 0 || s.Readable() {
		t.Errorf("before a packet: woken %d times, readable %v", w.Load(), s.Readable())
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if w.Load() != 1 || !s.Readable() {
		t.Errorf("after a packet: woken %d times, readable %v", w.Load(), s.Readable())
	}
}
