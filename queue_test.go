package rxring_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestQueueUnderManyHands has writers deliver while readers receive and rings
// come and go: every packet is counted once, none is torn, and all memory comes
// back.
func TestQueueUnderManyHands(t *testing.T) {
	const maxMemory = 1 << 19
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: maxMemory})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	const each = 5000
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	var read atomic.Uint64
	for w := range 4 {
		writers.Go(func() {
			data := rxtest.Frame(600)
			for i := range each {
				for j := 14; j < len(data); j++ {
					data[j] = byte(w*64 + i%64)
				}
				dev.Deliver(&rxring.Packet{Data: data[:200], Rest: [][]byte{data[200:]}})
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			b := make([]byte, 700)
			for last := false; ; {
				m, err := s.Recv(b, 0)
				if errors.Is(err, syscall.EAGAIN) {
					if last {
						return
					}
					last = done.Load()
					continue
				}
				rxtest.Must(t, err)
				read.Add(1)
				for _, c := range b[14:m.N] {
					if m.N != 600 || c != b[14] {
						t.Errorf("torn packet of %d bytes: % x", m.N, b[:m.N])
						break
					}
				}
			}
		})
	}
	readers.Go(func() {
		for !done.Load() {
			rxtest.Must(t, s.SetRxRing(rxtest.SmallRing), s.SetRxRing(tpacket.Req{}))
		}
	})
	writers.Wait()
	done.Store(true)
	readers.Wait()
	got := s.Totals()
	if got.Offered() != 4*each {
		t.Errorf("%+v adds up to %d, offered were %d", got, got.Offered(), 4*each)
	}
	t.Logf("%+v, of which %d were received", got, read.Load())
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	rxtest.Must(t, s.Close())
	other, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	defer other.Close()
	if err := other.SetRxRing(tpacket.Req{BlockSize: maxMemory, BlockNr: 1, FrameSize: 2048, FrameNr: maxMemory / 2048}); err != nil {
		t.Errorf("the queue has not given back all memory: %v", err)
	}
}

// TestQueuesShareTheNamespacesMemory: whatever the sockets' own bounds add up to.
func TestQueuesShareTheNamespacesMemory(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 10000})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	packets, drops := uint32(0), uint32(0)
	var sockets []*rxring.Socket
	for range 5 {
		s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		sockets = append(sockets, s)
	}
	for range 10 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	}
	for _, s := range sockets {
		st := s.Statistics()
		packets, drops = packets+st.Packets, drops+st.Drops
	}
	if packets != 50 || packets-drops != 10000/704 { // what a packet of 60 bytes costs
		t.Errorf("%d packets of which %d drops: want 50, and %d queued", packets, drops, 10000/704)
	}
}

func TestArmedWakerHearsOfQueuedPackets(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	var w countingWaker
	s.Arm(&w)
	if s.Readable() || s.QueuedBytes() != 0 {
		t.Error("readable before a packet came")
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if w.Load() != 1 || !s.Readable() || s.QueuedBytes() != 60 {
		t.Errorf("woken %d times, readable %v, %d bytes", w.Load(), s.Readable(), s.QueuedBytes())
	}
}

type countingWaker struct{ atomic.Int32 }

func (w *countingWaker) Wake() { w.Add(1) }

// A writer that is under way when a socket is closed leaves nothing in its queue:
// nobody would give the memory back.
func TestNothingIsQueuedAfterClose(t *testing.T) {
	need.Time(t, "it repeats a race")
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					d.Deliver(&rxring.Packet{Data: make([]byte, 1000)})
				}
			}
		})
	}
	budget := rxring.NewBudget(1 << 30)
	for range 200 {
		s, err := ns.SocketFor(&rxring.Grant{Budget: budget}, rxring.SockRaw, tpacket.ETHPAll)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			runtime.Gosched()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	writers.Wait()
	if held := budget.Held(); held != 0 {
		t.Errorf("%d bytes are held by closed sockets", held)
	}
}

// Who peeks and discards does not take the error that is pending.
func TestPeekAndDiscardLeaveTheError(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(d.Index()), Protocol: tpacket.Htons(tpacket.ETHPAll)}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{60, 70} {
		d.Deliver(&rxring.Packet{Data: make([]byte, n)})
	}
	d.SetUp(false)
	b := make([]byte, 10)
	for _, n := range []int{60, 70} {
		if m, err := s.Peek(b); err != nil || m.N != n || m.Copied != len(b) {
			t.Errorf("peek: %+v, %v: want a packet of %d bytes, cut to %d", m, err, n, len(b))
		}
		s.Discard()
	}
	s.Discard() // nothing
	if _, err := s.Peek(b); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("peek: %v: want EAGAIN", err)
	}
	if _, err := s.Recv(b, 0); !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("receive: %v: want ENETDOWN", err)
	}
}

// TestPacketsCutBeforeTheyCameTakeTheRoomOfWhatIsLeft: a capture file says how long they
// were, which may be more than the queue has room for.
func TestPacketsCutBeforeTheyCameTakeTheRoomOfWhatIsLeft(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll))
	const n = 100
	for range n {
		dev.Deliver(&rxring.Packet{Data: rxtest.Ethernet(0x800, 60), Len: 1 << 20})
	}
	if totals := s.Totals(); totals.Captured != n {
		t.Errorf("%+v: want %d captured", totals, n)
	}
}
