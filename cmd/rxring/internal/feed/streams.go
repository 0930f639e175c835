package feed

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"gvisor.dev/gvisor/pkg/log"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/netstack/streams"
)

// defaultName is the name of a device without another one.
const defaultName = "net0"

// streamsPlan is streams[:N][,rate=R].
type streamsPlan struct{ cfg streams.Config }

// maxRate is of segments per second: a clock has no finer steps.
const maxRate = 1e9

func parseStreams(s *Spec) (_ plan, err error) {
	var p streamsPlan
	if err := s.want(map[string]bool{"rate": true}); err != nil {
		return nil, err
	}
	if p.cfg.Rate, err = s.number("rate", 1, maxRate); err != nil {
		return nil, err
	}
	if !s.hasArg {
		return p, nil
	}
	n, err := strconv.Atoi(s.arg)
	if err != nil || n < 0 || n > streams.MaxFlows {
		return nil, fmt.Errorf("%q streams: want a number from 0 to %d", s.arg, streams.MaxFlows)
	}
	if p.cfg.Flows = n; n == 0 {
		p.cfg.Flows = streams.NoFlows
	}
	return p, nil
}

func (p streamsPlan) inspect(context.Context) (opener, func(), error) { return p.open, nothing, nil }

func (p streamsPlan) open(c Config) (*Feed, error) {
	dev, err := c.Namespace.AddDevice(rxring.DeviceConfig{Name: cmp.Or(c.name, defaultName), MaxLen: streams.MaxLen, Prefixes: []netip.Prefix{streams.LocalAddr}})
	if err != nil {
		return nil, err
	}
	log.SetLevel(log.Warning) // less is about a program's packets
	return &Feed{devices: fixed(dev), start: func() (Running, error) {
		s, err := streams.Start(dev, p.cfg)
		if err != nil {
			return nil, err
		}
		return runningStreams{s}, nil
	}}, nil
}

// SetWarnings makes the embedded network stack call f with its warnings, instead of writing
// them to standard error, which may block. It must be called before a source is opened; f may
// be called concurrently.
func SetWarnings(f func(text string)) { log.SetTarget(emitter(f)) }

type emitter func(text string)

// Emit implements gVisor's log.Emitter.
func (f emitter) Emit(_ int, _ log.Level, _ time.Time, format string, v ...any) {
	f(fmt.Sprintf(format, v...))
}

type runningStreams struct{ *streams.Source }

func (runningStreams) Done() <-chan struct{} { return nil }

func (r runningStreams) Counters() map[string]uint64 {
	s := r.Stats()
	return map[string]uint64{
		"frames":         s.SentFrames + s.ReceivedFrames,
		"bytes":          s.SentBytes + s.ReceivedBytes,
		"program_frames": s.ProgramFrames,
	}
}
