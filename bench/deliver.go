package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/writer"
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
	version   tpacket.Version    // V1: V2
	granted   bool               // the socket has a grant that allows the device and the whole packet
	fanout    int                // packet sockets in a fanout group; 0: one, in none
	flows     int                // flows that the group divides by hash; 0: one flow, and a group by CPU
}

// deliver is an rxring device with a packet socket on it, or a group of them.
type deliver struct {
	dev     *rxring.Device
	sinks   []*sink
	packets [][]rxring.Packet // by CPU
	batch   bool

	stop    func()         // ends the reader goroutines; nil: there are none
	readers sync.WaitGroup // until they have ended
}

// sink is a packet socket and its reader.
type sink struct {
	sock *rxring.Socket

	mu      sync.Mutex // guards the rest while there is a reader goroutine
	rd      *ring.Reader
	scratch []byte // as long as a packet
	done    tally  // what it has read
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
	d := &deliver{dev: dev, batch: c.batch > 0}
	data := packet(size) // one for all: a batch is no harder on the caches
	for cpu := range max(c.fanout, 1) {
		s, err := openSink(ns, dev, size, c)
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
		d.sinks = append(d.sinks, s)
		var packets []rxring.Packet
		for i := range max(c.batch, c.flows, 1) {
			if c.flows > 0 {
				data = packetOfFlow(size, i)
			}
			packets = append(packets, rxring.Packet{Data: data, Timestamp: c.timestamp, CPU: uint16(cpu)})
		}
		d.packets = append(d.packets, packets)
	}
	if c.reader {
		var ctx context.Context
		ctx, d.stop = context.WithCancel(context.Background())
		for _, s := range d.sinks {
			d.readers.Go(func() { s.readOn(ctx) })
		}
	}
	return d, nil
}

func openSink(ns *rxring.Namespace, dev *rxring.Device, size int, c deliverConfig) (*sink, error) {
	sock, err := ns.Socket(rxring.SockRaw, 0)
	if err != nil {
		return nil, err
	}
	s := &sink{sock: sock, scratch: make([]byte, size)}
	err = sock.SetVersion(max(c.version, tpacket.V2))
	if err == nil {
		err = sock.SetRxRing(c.ring)
	}
	if err == nil && c.filter != nil {
		err = sock.AttachFilter(c.filter)
	}
	if err == nil {
		err = sock.BindDevice(dev, tpacket.ETHPAll)
	}
	if err == nil && c.granted {
		err = sock.SetGrant(grant())
	}
	if err == nil && c.fanout > 0 {
		mode := rxring.FanoutCPU
		if c.flows > 0 {
			mode = rxring.FanoutHash
		}
		err = sock.JoinFanout(rxring.FanoutConfig{Mode: mode})
	}
	if err == nil {
		s.rd, err = sock.NewReader()
	}
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	return s, nil
}

// grant allows all that the rows without a grant deliver, so that every check runs and nothing is
// truncated.
func grant() *rxring.Grant {
	return &rxring.Grant{
		Devices: func(d *rxring.Device) bool { return d.Name() == "net0" },
		Filter:  []cbpf.Instruction{{Op: cbpf.OpRetK, K: 1 << 18}},
		Snaplen: 1 << 18,
	}
}

func (d *deliver) send(n int) { d.sendOn(0, n) }

// sendOn is send on one of many CPUs.
func (d *deliver) sendOn(cpu, n int) {
	packets := d.packets[cpu%len(d.packets)]
	if d.batch {
		for i := 0; i < n; i += len(packets) {
			d.dev.DeliverBatch(packets)
		}
		return
	}
	if len(packets) > 1 {
		for i := 0; i < n; i += len(packets) {
			for j := range packets {
				d.dev.Deliver(&packets[j])
			}
		}
		return
	}
	p := &packets[0]
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
	for _, s := range d.sinks {
		if b, ok := s.sock.Ring().(*writer.Blocks); ok {
			b.Expire() // as the timer would
		}
		s.drain()
	}
}

func (s *sink) drain() { readAll(s.rd, s.scratch, &s.done) }

// readAll reads what there is as a program that writes it to a file: it copies
// every byte, to scratch.
func readAll(rd *ring.Reader, scratch []byte, t *tally) {
	var f ring.Frame
	for rd.Advance(&f) {
		t.read++
		t.bytes += uint64(copy(scratch, f.Data))
	}
}

// readOn is a reader that keeps up as it can.
func (s *sink) readOn(ctx context.Context) {
	for s.rd.Wait(ctx) == nil {
		s.mu.Lock()
		s.drain()
		s.mu.Unlock()
	}
}

func (d *deliver) settle() (all tally, err error) {
	for _, s := range d.sinks {
		t := s.sock.Totals()
		err = errors.Join(err, waitFor(func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.done.read == t.Captured
		}))
		s.mu.Lock()
		all.accepted += t.Captured
		all.dropped += t.Dropped() + t.Filtered
		all.read += s.done.read
		all.bytes += s.done.bytes
		s.mu.Unlock()
	}
	return all, err
}

func (d *deliver) close() (err error) {
	if d.stop != nil {
		d.stop()
		d.readers.Wait()
	}
	for _, s := range d.sinks {
		err = errors.Join(err, s.sock.Close())
	}
	return err
}

// unwatched is a device without sockets: it accepts and drops nothing.
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
	if u.dev.HasListeners() || u.dev.Malformed() != 0 {
		return tally{}, fmt.Errorf("watched %v, malformed %d: want a device without sockets", u.dev.HasListeners(), u.dev.Malformed())
	}
	return tally{dropped: u.sent}, nil
}

func (u *unwatched) close() error { return nil }
