package file

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
)

// FullSpeed, for [Config].Speed, is as fast as can be.
const FullSpeed = 0

// Forever, for [Config].Loop, is until Close.
const Forever = -1

// Config configures a replay. The zero value replays once, at full speed, to the sockets
// that are open.
type Config struct {
	// Speed is a multiple of the pace in which the packets were captured: 1 is that
	// pace, 2 twice as fast; FullSpeed. Gaps are as long as they were, however long.
	// A packet without a time is due with the one before it, and so is the first one
	// after the clock was set back.
	Speed float64

	// Loop is how many times the file is replayed: 0 and 1 once; Forever.
	Loop int

	// Now has packets bear the time at which they are replayed, as those that
	// tcpreplay sends do. Without it they bear the one at which they were captured,
	// whatever the speed, as tcpdump -r shows them: what a reader writes is then
	// the file that was replayed. In a further loop that time goes on: a loop
	// follows the one before it as if captured behind it. A packet without a time
	// bears the one at which it is replayed.
	Now bool

	// Wait has the source begin only when programs are ready to read: at least
	// Readers sockets are on the devices, the first of them for After, and none was
	// opened, closed or changed for SettleTime, FanoutSettleTime, or as long as it took to
	// open them (but at most 10 s after After). When all sockets are closed before
	// that, the wait starts anew.
	Wait    bool
	Readers int           // 0: 1
	After   time.Duration // 0: SettleTime alone decides

	// Room is asked before packets are delivered, n at most MaxBatch, and says for how
	// many of them there is room. While that is 0 the source waits, and asks again every
	// millisecond; the time is not made up for. It is called by one goroutine and should
	// not block. Nil: there always is.
	Room func(n int) int

	// Progress, if not nil, is called with the source's progress a few times a second and
	// at the end of each loop, by one goroutine.
	Progress func(Progress)
}

// Progress is how far a source is.
type Progress struct {
	Offset, Size int64 // bytes of the file, as it is on the disk; it may have grown since Open
	Packets      uint64
	Loop         int // counted from 0
}

// Stats counts what was delivered so far.
type Stats struct {
	Packets, Bytes uint64
	Cut            uint64 // packets that are not whole in the file: their beginnings were delivered
	Unseen         uint64 // packets delivered while the device had no socket
	Loops          uint64 // that have come to their end
}

// Source is a file that is being replayed.
type Source struct {
	file    *File
	devices []*rxring.Device
	cfg     Config

	ctx  context.Context // until Close
	stop context.CancelFunc
	done chan struct{}
	err  error // written before done is closed

	begun                              atomic.Bool
	packets, bytes, cut, unseen, loops atomic.Uint64
}

// Start replays the file to devices, made as [File.Devices] describes them and in
// that order, until its end or Close. Nothing else should feed them meanwhile. The
// devices stay as they are at the end. To signal the end to readers, remove them
// ([rxring.Namespace.RemoveDevice]) after [Linger].
func (f *File) Start(devices []*rxring.Device, cfg Config) (*Source, error) {
	err := f.check(devices)
	switch {
	case err != nil:
	case math.IsNaN(cfg.Speed), math.IsInf(cfg.Speed, 0), cfg.Speed < 0:
		err = fmt.Errorf("speed %v: want a multiple of the recorded pace, or 0 for full speed", cfg.Speed)
	case cfg.Readers < 0, cfg.After < 0:
		err = fmt.Errorf("begin after %v, with %d readers: want no negative values", cfg.After, cfg.Readers)
	case cfg.Loop < Forever:
		err = fmt.Errorf("loop %d times: want 1 or more, or %d for ever", cfg.Loop, Forever)
	}
	if err != nil {
		return nil, f.wrap(err)
	}
	if cfg.Loop == 0 {
		cfg.Loop = 1
	}
	s := &Source{file: f, devices: devices, cfg: cfg, done: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	go func() {
		defer close(s.done)
		if err := s.run(); err != nil && !errors.Is(err, errStopped) && !errors.Is(err, context.Canceled) {
			s.err = f.wrap(err)
		}
	}()
	return s, nil
}

// Linger is how long to leave the devices after Done before they are removed, so
// that readers get the last packets. In a V3 ring these lie in a block that is
// open until its timeout has passed, one second with tcpdump; libpcap reads nothing
// more when a device has gone.
const Linger = 1500 * time.Millisecond

// Done is closed when nothing more will be delivered: at the end, after an error,
// or by Close.
func (s *Source) Done() <-chan struct{} { return s.done }

// Begun reports whether the replay has begun: see [Config].Wait.
func (s *Source) Begun() bool { return s.begun.Load() }

// Err is what ended the source before the end of the file, once Done is closed: it
// names the file, the packet and the offset. Nil: nothing, or Close.
func (s *Source) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close ends the source and returns when nothing more will be delivered, with the
// error that had ended it before. It may be called more than once.
func (s *Source) Close() error {
	s.stop()
	<-s.done
	return s.err
}

// Stats returns the counts so far. It may be called at any time; counts of one
// instant need not fit together.
func (s *Source) Stats() Stats {
	return Stats{
		Packets: s.packets.Load(),
		Bytes:   s.bytes.Load(),
		Cut:     s.cut.Load(),
		Unseen:  s.unseen.Load(),
		Loops:   s.loops.Load(),
	}
}
