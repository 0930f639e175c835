package file

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/delivery"
)

// FullSpeed, for [Config].Speed, replays as fast as possible.
const FullSpeed = 0

// Forever, for [Config].Loop, replays until Close.
const Forever = -1

// MaxBatch is how many packets are delivered at once: sockets acquire slots for as many
// together.
const MaxBatch = delivery.MaxBatch

// How long the devices' sockets must be unchanged when [Config].Wait is set: in general, and
// if one of them is in a fanout group, as Suricata's are.
const (
	SettleTime       = delivery.SettleTime
	FanoutSettleTime = delivery.FanoutSettleTime
)

// Config configures a replay. The zero value replays once, at full speed, without waiting for
// readers.
type Config struct {
	// Speed is a multiple of the pace in which the packets were captured: 1 is that
	// pace, 2 twice as fast; FullSpeed. Gaps are as long as they were, however long.
	// A packet without a time is due with the one before it, and so is the first one
	// after the clock was set back.
	Speed float64

	// Loop is how many times the file is replayed: 0 and 1 once; Forever.
	Loop int

	// Now gives packets the time at which they are replayed, as with tcpreplay.
	// Otherwise they have the time at which they were captured, whatever the speed, as
	// tcpdump -r shows them: a reader then writes the file that was replayed. In a
	// further loop that time continues, as if the loop had been captured after the one
	// before it. A packet without a time gets the one at which it is replayed.
	Now bool

	// Wait delays the start until programs are ready to read: at least Readers sockets
	// are bound to the devices, the first of them for After, and none was bound, closed
	// or changed for SettleTime, FanoutSettleTime, or as long as it took to open them
	// (but at most 10 s after After). When all sockets are closed before that, the wait
	// starts again.
	Wait    bool
	Readers int           // 0: 1
	After   time.Duration // 0: SettleTime alone decides

	// Room is called before n packets, at most MaxBatch, are delivered, and returns for
	// how many of them there is room. While that is 0 the source waits, and calls it
	// again every millisecond; later packets are delayed by that time. It is called by
	// one goroutine and should not block. Nil means that there always is room.
	Room func(n int) int

	// Progress is called a few times a second and at the end of each loop, by one
	// goroutine. It may be nil.
	Progress func(Progress)
}

// Progress is a source's position in its file.
type Progress struct {
	Offset, Size int64 // bytes of the file, as it is on the disk; it may have grown since Open
	Packets      uint64
	Loop         int // counted from 0
}

// Stats counts what was delivered so far.
type Stats struct {
	Packets, Bytes uint64
	Cut            uint64 // packets that are truncated in the file, delivered so
	Unseen         uint64 // packets delivered while the device had no sockets
	Loops          uint64 // completed
}

// Source is a file that is being replayed.
type Source struct {
	file    *File
	devices []*rxring.Device
	cfg     Config

	ctx  context.Context // until Close
	stop context.CancelFunc
	done chan struct{}
	err  error // valid once done is closed

	begun  atomic.Bool
	counts delivery.Counts
	loops  atomic.Uint64
}

// Start replays the file to devices, created as [File.Devices] describes them and in that
// order, until its end or Close. No other source should feed them meanwhile. The devices remain
// at the end: to end readers, too, remove them ([rxring.Namespace.RemoveDevice]) after
// [Linger].
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
		if err := s.run(); err != nil && !errors.Is(err, delivery.ErrStopped) && !errors.Is(err, context.Canceled) {
			s.err = f.wrap(err)
		}
	}()
	return s, nil
}

// Linger is how long to keep the devices after Done, so that readers get the last packets. In
// a V3 ring these are in a block that is open until its timeout, one second with tcpdump;
// libpcap reads nothing more once a device is removed.
const Linger = 1500 * time.Millisecond

// Done returns a channel that is closed once nothing more will be delivered: at the end, after
// an error, or by Close.
func (s *Source) Done() <-chan struct{} { return s.done }

// Begun reports whether the replay has begun: see [Config].Wait.
func (s *Source) Begun() bool { return s.begun.Load() }

// Err returns, once Done is closed, the error that ended the source before the end of the file,
// with the file, the packet and the offset. It is nil at the end and after Close.
func (s *Source) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close ends the source, and returns once nothing more will be delivered, with the error that
// had ended it before. It may be called more than once.
func (s *Source) Close() error {
	s.stop()
	<-s.done
	return s.err
}

// Stats returns the counts so far. It may be called at any time; the counts are not read at one
// instant.
func (s *Source) Stats() Stats {
	return Stats{
		Packets: s.counts.Packets.Load(),
		Bytes:   s.counts.Bytes.Load(),
		Cut:     s.counts.Cut.Load(),
		Unseen:  s.counts.Unseen.Load(),
		Loops:   s.loops.Load(),
	}
}
