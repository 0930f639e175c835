package file

import (
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// MaxBatch is how many packets are delivered at once: sockets acquire slots for as many
// together.
const MaxBatch = 32

// batchBytes is the size of a batch of ordinary packets. Longer ones are delivered alone, from
// the reader's memory.
const batchBytes = 64 << 10

// How often Room and Progress are called.
const (
	roomEvery     = time.Millisecond
	progressEvery = 100 * time.Millisecond
)

// batch collects packets of one device that are due together.
type batch struct {
	s      *Source
	reader *capfile.Reader
	loop   int

	pace pacer
	now  time.Time // when the clock was last read; zero: not yet
	told time.Time // when Progress was last called

	dev     *rxring.Device
	packets [MaxBatch]rxring.Packet
	links   [MaxBatch]rxring.Link
	n       int
	cut     uint64
	bytes   [batchBytes]byte
	used    int
}

// await returns when a packet of the time ts is due, with all packets delivered that are due
// before it.
func (b *batch) await(ts int64) error {
	due := b.pace.due(ts, time.Now)
	if !due.After(b.now) {
		return nil
	}
	if b.now = time.Now(); !due.After(b.now) {
		return nil
	}
	if err := b.flush(); err != nil {
		return err
	}
	due = b.pace.due(ts, time.Now) // Room may have moved it
	if err := b.s.sleep(time.Until(due)); err != nil {
		return err
	}
	b.now = time.Now()
	return nil
}

// add appends p, whose bytes are valid until the next packet is read.
func (b *batch) add(dev *rxring.Device, link *linktype.Link, p *capfile.Packet) error {
	if dev != b.dev || b.n == MaxBatch || b.used+len(p.Data) > batchBytes {
		if err := b.flush(); err != nil {
			return err
		}
		b.dev = dev
	}
	data := p.Data
	alone := len(data) > batchBytes
	if !alone {
		data = b.bytes[b.used : b.used+copy(b.bytes[b.used:], data)]
		b.used += len(data)
	}
	ts := max(p.Timestamp, 0)
	if b.s.cfg.Now {
		ts = 0
	}
	shown, whole := link.Decode(data)
	q := &b.packets[b.n]
	*q = rxring.Packet{Data: shown.Data, Len: p.Len - (len(data) - len(shown.Data)), Timestamp: ts}
	if !whole { // its header is cut off: the device counts a packet without a byte as malformed
		q.Data, q.Len = nil, 0
	} else if shown.HasLink {
		b.links[b.n] = shown.Link
		q.Link = &b.links[b.n]
	}
	q.Outgoing = shown.Outgoing || p.Direction == capfile.Outbound && link.Device != rxring.CAN // whose drivers loop packets back
	b.n++
	if p.Len > len(p.Data) {
		b.cut++
	}
	if alone {
		return b.flush()
	}
	return nil
}

// flush delivers the batch, unless the source is closed.
func (b *batch) flush() error {
	if b.n == 0 {
		return nil
	}
	s := b.s
	for ps := b.packets[:b.n]; len(ps) > 0; {
		n, err := b.room(len(ps))
		if err != nil {
			return err
		}
		if !b.dev.HasListeners() {
			s.unseen.Add(uint64(n))
		}
		b.dev.DeliverBatch(ps[:n])
		sum := 0
		for i := range ps[:n] {
			sum += len(ps[i].Data)
		}
		s.packets.Add(uint64(n))
		s.bytes.Add(uint64(sum))
		ps = ps[n:]
	}
	s.cut.Add(b.cut)
	b.n, b.used, b.cut = 0, 0, 0
	if s.cfg.Progress != nil && time.Since(b.told) >= progressEvery {
		b.progress()
	}
	return nil
}

// room waits until there is room for some of n packets, and returns for how many.
func (b *batch) room(n int) (int, error) {
	select {
	case <-b.s.ctx.Done():
		return 0, errStopped
	default:
	}
	if b.s.cfg.Room == nil {
		return n, nil
	}
	if room := b.s.cfg.Room(n); room > 0 {
		return room, nil
	}
	start := time.Now()
	for {
		if err := b.s.sleep(roomEvery); err != nil {
			return 0, err
		}
		if room := b.s.cfg.Room(n); room > 0 {
			b.pace.held(time.Since(start))
			return room, nil
		}
	}
}

func (b *batch) progress() {
	if b.s.cfg.Progress == nil {
		return
	}
	b.told = time.Now()
	b.s.cfg.Progress(Progress{
		Offset: b.reader.Offset(), Size: b.s.file.info.Size,
		Packets: b.s.packets.Load(), Loop: b.loop,
	})
}
