package file

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
)

var (
	errStopped = errors.New("closed")
	errChanged = errors.New("its interfaces are not those that it had when it was opened: open it again")
)

// run replays the file Config.Loop times.
func (s *Source) run() error {
	if s.cfg.Wait {
		if err := s.awaitReaders(); err != nil {
			return err
		}
	}
	s.begun.Store(true)
	b := batch{s: s, pace: pacer{speed: s.cfg.Speed}}
	for loop := 0; s.cfg.Loop == Forever || loop < s.cfg.Loop; loop++ {
		before := s.packets.Load()
		if err := s.replay(&b, loop); err != nil {
			return err
		}
		s.loops.Add(1)
		if s.packets.Load() == before {
			return nil // an empty file would loop for ever
		}
	}
	return nil
}

// sleep returns early, with an error, when the source is closed.
func (s *Source) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return errStopped
	}
}

// replay delivers the file once.
func (s *Source) replay(b *batch, loop int) error {
	r, err := s.file.open(capfile.Bounds{Context: s.ctx})
	if err != nil {
		return err
	}
	defer r.close()
	b.reader, b.loop = r.Reader, loop
	shift := s.file.info.shift(loop)
	ins := r.Interfaces()
	for {
		p, err := r.Next()
		if err != nil {
			if flushed := b.flush(); flushed != nil {
				return flushed
			}
			b.progress()
			if err == io.EOF {
				return nil
			}
			return err
		}
		if p.Interface >= len(ins) {
			ins = r.Interfaces()
		}
		at, ok := s.file.deviceOf(ins, p.Interface)
		if !ok {
			return errors.Join(b.flush(), errChanged)
		}
		if at < 0 {
			continue // no device can show this interface's packets
		}
		if p.Timestamp > 0 {
			p.Timestamp = later(p.Timestamp, shift)
			if s.cfg.Speed != FullSpeed {
				if err := b.await(p.Timestamp); err != nil {
					return err
				}
			}
		}
		if err := b.add(s.devices[at], s.file.devices[at].link, &p); err != nil {
			return err
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
