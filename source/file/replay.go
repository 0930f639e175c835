package file

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/delivery"
)

var errChanged = errors.New("its interfaces are not those that it had when it was opened: open it again")

// progressEvery is how often Progress is called.
const progressEvery = 100 * time.Millisecond

// player is the state of a replay.
type player struct {
	s      *Source
	batch  delivery.Batch
	reader *capfile.Reader
	loop   int

	pace pacer
	now  time.Time // when the clock was last read; zero: not yet
	told time.Time // when Progress was last called
}

// run replays the file Config.Loop times.
func (s *Source) run() error {
	if s.cfg.Wait {
		if err := delivery.AwaitReaders(s.ctx, s.devices, delivery.Wanted{Readers: s.cfg.Readers, After: s.cfg.After}); err != nil {
			return err
		}
	}
	s.begun.Store(true)
	p := player{s: s, pace: pacer{speed: s.cfg.Speed}}
	p.batch = delivery.Batch{Context: s.ctx, Counts: &s.counts, Now: s.cfg.Now, Room: s.cfg.Room, Held: p.pace.held}
	for loop := 0; s.cfg.Loop == Forever || loop < s.cfg.Loop; loop++ {
		before := s.counts.Packets.Load()
		if err := p.replay(loop); err != nil {
			return err
		}
		s.loops.Add(1)
		if s.counts.Packets.Load() == before {
			return nil // an empty file would loop for ever
		}
	}
	return nil
}

// await returns when a packet of the time ts is due, with all packets delivered that are due
// before it.
func (p *player) await(ts int64) error {
	due := p.pace.due(ts, time.Now)
	if !due.After(p.now) {
		return nil
	}
	if p.now = time.Now(); !due.After(p.now) {
		return nil
	}
	if err := p.batch.Flush(); err != nil {
		return err
	}
	due = p.pace.due(ts, time.Now) // Room may have moved it
	if err := delivery.Sleep(p.s.ctx, time.Until(due)); err != nil {
		return err
	}
	p.now = time.Now()
	return nil
}

func (p *player) progress() {
	s := p.s
	if s.cfg.Progress == nil {
		return
	}
	p.told = time.Now()
	s.cfg.Progress(Progress{
		Offset: p.reader.Offset(), Size: s.file.info.Size,
		Packets: s.counts.Packets.Load(), Loop: p.loop,
	})
}

// replay delivers the file once.
func (p *player) replay(loop int) error {
	s := p.s
	r, err := s.file.open(capfile.Bounds{Context: s.ctx})
	if err != nil {
		return err
	}
	defer r.close()
	p.reader, p.loop = r.Reader, loop
	shift := s.file.info.shift(loop)
	ins := r.Interfaces()
	for {
		packet, err := r.Next()
		if err != nil {
			if flushed := p.batch.Flush(); flushed != nil {
				return flushed
			}
			p.progress()
			if err == io.EOF {
				return nil
			}
			return err
		}
		if packet.Interface >= len(ins) {
			ins = r.Interfaces()
		}
		at, ok := s.file.deviceOf(ins, packet.Interface)
		if !ok {
			return errors.Join(p.batch.Flush(), errChanged)
		}
		if at < 0 {
			continue // no device can show this interface's packets
		}
		if packet.Timestamp > 0 {
			packet.Timestamp = later(packet.Timestamp, shift)
			if s.cfg.Speed != FullSpeed {
				if err := p.await(packet.Timestamp); err != nil {
					return err
				}
			}
		}
		if err := p.batch.Add(s.devices[at], s.file.devices[at].link, &packet); err != nil {
			return err
		}
		// After a flush the batch has at most the packet that was added.
		if s.cfg.Progress != nil && p.batch.Len() <= 1 && time.Since(p.told) >= progressEvery {
			p.progress()
		}
	}
}

// deviceOf returns the index of an interface's device, -1 if it has none. It reports false for
// an interface that Open did not find, or that has changed since.
func (f *File) deviceOf(ins []capfile.Interface, i int) (at int, ok bool) {
	known := f.interfaces
	if i >= len(known) || f.unused[i] || known[i].Name != ins[i].Name || known[i].LinkType != ins[i].LinkType {
		return -1, false
	}
	return f.device[i], true
}

// shift returns the nanoseconds to add to times in a loop: as if it had been captured after
// the one before it, at the average distance of packets.
func (i *Info) shift(loop int) int64 {
	span := i.Last - i.First
	gap := max(span/max(i.Packets-1, 1), 1)
	if span > math.MaxInt64-gap {
		return 0
	}
	if span += gap; int64(loop) > math.MaxInt64/span {
		return math.MaxInt64
	}
	return span * int64(loop)
}

// later adds to a time, without overflow.
func later(ts, shift int64) int64 {
	if ts > math.MaxInt64-shift {
		return math.MaxInt64
	}
	return ts + shift
}
