package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// deliverConfig says how packets go to an rxring device.
type deliverConfig struct {
	timestamp int64              // the caller's; 0: Deliver reads the clock
	filter    []cbpf.Instruction // nil: none
	batch     int                // packets a call; 0: Deliver, not DeliverBatch
	reader    bool               // a goroutine reads all the time, sleeping when there is nothing
	ring      tpacket.Req        // zero: ringRequest's
}

// deliver is an rxring device with one packet socket on it.
type deliver struct {
	dev     *rxring.Device
	sock    *rxring.Socket
	packets []rxring.Packet
	batch   bool

	rd          *ring.Reader
	read, bytes uint64

	mu   sync.Mutex    // guards rd, read and bytes from here on
	stop func()        // ends the reader goroutine; nil: there is none
	done chan struct{} // it has ended
}

func openDeliver(size int, c deliverConfig) (session, error) {
	if c.ring.FrameNr == 0 {
		c.ring = ringRequest(size)
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		return nil, err
	}
	sock, err := ns.Socket(rxring.SockRaw, 0)
	if err != nil {
		return nil, err
	}
	d := &deliver{dev: dev, sock: sock, batch: c.batch > 0}
	err = sock.SetVersion(tpacket.V2)
	if err == nil {
		err = sock.SetRxRing(c.ring)
	}
	if err == nil && c.filter != nil {
		err = sock.AttachFilter(c.filter)
	}
	if err == nil {
		err = sock.BindDevice(dev, tpacket.ETHPAll)
	}
	if err == nil {
		d.rd, err = sock.NewReader()
	}
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	data := packet(size) // one for all: a batch is no harder on the caches
	for range max(c.batch, 1) {
		d.packets = append(d.packets, rxring.Packet{Data: data, Timestamp: c.timestamp})
	}
	if c.reader {
		var ctx context.Context
		ctx, d.stop = context.WithCancel(context.Background())
		d.done = make(chan struct{})
		go d.readOn(ctx)
	}
	return d, nil
}

func (d *deliver) send(n int) {
	if d.batch {
		for i := 0; i < n; i += len(d.packets) {
			d.dev.DeliverBatch(d.packets)
		}
		return
	}
	p := &d.packets[0]
	for range n {
		d.dev.Deliver(p)
	}
}

func (d *deliver) empty() {
	if d.stop == nil {
		d.drain()
	}
}

func (d *deliver) drain() {
	for {
		f, ok := d.rd.Next()
		if !ok {
			return
		}
		d.read++
		d.bytes += uint64(len(f.Data))
		f.Release()
	}
}

// readOn is a reader that keeps up as it can.
func (d *deliver) readOn(ctx context.Context) {
	defer close(d.done)
	for d.rd.Wait(ctx) == nil {
		d.mu.Lock()
		d.drain()
		d.mu.Unlock()
	}
}

func (d *deliver) settle() (tally, error) {
	t := d.sock.Totals()
	err := waitFor(func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.read == t.Captured
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	return tally{accepted: t.Captured, dropped: t.Dropped() + t.Filtered, read: d.read, bytes: d.bytes}, err
}

func (d *deliver) close() error {
	if d.stop != nil {
		d.stop()
		<-d.done
	}
	return d.sock.Close()
}

// unwatched is a device that nobody looks at: nothing is accepted, and nothing
// is dropped.
type unwatched struct {
	dev    *rxring.Device
	packet rxring.Packet
	sent   uint64
}

func openUnwatched(size int) (session, error) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	return &unwatched{dev: dev, packet: rxring.Packet{Data: packet(size)}}, err
}

func (u *unwatched) send(n int) {
	for range n {
		u.dev.Deliver(&u.packet)
	}
	u.sent += uint64(n)
}

func (u *unwatched) empty() {}

func (u *unwatched) settle() (tally, error) {
	if u.dev.Watched() || u.dev.Malformed() != 0 {
		return tally{}, fmt.Errorf("watched %v, malformed %d: want a device that nobody looks at", u.dev.Watched(), u.dev.Malformed())
	}
	return tally{dropped: u.sent}, nil
}

func (u *unwatched) close() error { return nil }
