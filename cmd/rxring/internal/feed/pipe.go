package feed

import (
	"context"
	"errors"
	"io"
	"maps"

	"github.com/rxring/rxring/source/file/pipe"
	"github.com/rxring/rxring/source/file/stream"
)

// pipePlan is pcap:… or exec:…: a stream of pcap or pcapng.
type pipePlan struct {
	from      streamOpener
	cfg       pipe.Config
	reconnect bool
	stay      bool // keep the devices after the end of the stream
}

// streamOpener opens a stream.
type streamOpener interface {
	// open may block until ctx ends.
	open(ctx context.Context) (io.ReadCloser, error)
}

// pipeOptions says of each option of a stream whether it has a value.
var pipeOptions = map[string]bool{
	"now": false, "after": true, "readers": true, "stay": false, "addr": true, "reconnect": false,
}

const wantPipe = "want pcap:- (standard input), pcap:PATH (a FIFO), pcap:tcp:HOST:PORT or pcap:unix:PATH"

func parsePipe(s *Spec) (plan, error) {
	from, err := parseOpener(s.arg)
	if err != nil {
		return nil, err
	}
	options := maps.Clone(pipeOptions)
	switch from := from.(type) {
	case stdinOpener:
		delete(options, "reconnect")
	case netOpener:
		maps.Copy(options, requestOptions)
		if from.request, err = s.request(); err != nil {
			return nil, err
		}
		return parseStream(s, from, options)
	}
	return parseStream(s, from, options)
}

// requestOptions are those that a server of package stream gets.
var requestOptions = map[string]bool{"device": true, "snaplen": true, "filter": true}

// request returns the values of requestOptions.
func (s *Spec) request() (r stream.Request, err error) {
	r.Device, _ = s.option("device")
	r.Filter, _ = s.option("filter")
	r.SnapLen, err = s.number("snaplen", 1, maxSnaplen)
	return r, err
}

func parseExec(s *Spec) (plan, error) {
	if s.arg == "" {
		return nil, errors.New("no command: want exec:COMMAND, for instance exec:ssh web1 tcpdump -U -w -")
	}
	return parseStream(s, commandOpener{s.arg}, pipeOptions)
}

func parseStream(s *Spec, from streamOpener, options map[string]bool) (_ plan, err error) {
	p := pipePlan{from: from, cfg: pipe.Config{Wait: true}}
	if err := s.want(options); err != nil {
		return nil, err
	}
	_, p.cfg.Now = s.option("now")
	_, p.stay = s.option("stay")
	_, p.reconnect = s.option("reconnect")
	if p.cfg.Prefix, err = s.addr(); err != nil {
		return nil, err
	}
	if p.cfg.After, p.cfg.Readers, err = s.readers(); err != nil {
		return nil, err
	}
	return p, nil
}

// inspect opens the stream, and reads it up to its first interfaces.
func (p pipePlan) inspect(ctx context.Context) (opener, func(), error) {
	in, err := p.from.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := pipe.Open(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	return func(c Config) (*Feed, error) { return p.open(s, c) }, func() { s.Close() }, nil
}

func (p pipePlan) open(s *pipe.Stream, c Config) (*Feed, error) {
	cfg := p.cfg
	cfg.Namespace, cfg.Name, cfg.Failed = c.Namespace, c.name, c.Failed
	if p.reconnect {
		cfg.Reopen = p.from.open
	}
	var src *pipe.Source
	if c.Patient {
		// With a limit, as for a file with a speed: the writer has a clock of its own.
		waits := &patience{paced: true}
		cfg.Room = func(n int) int {
			waits.devices = src.Devices()
			return waits.room(n)
		}
	} else {
		cfg.Wait = false
	}
	src, err := s.Add(cfg)
	if err != nil {
		return nil, err
	}
	return &Feed{devices: src.Devices, discard: func() { s.Close() }, LeftOut: src.LeftOut(), Extras: s.Extras(), Finite: !p.stay && !p.reconnect, start: func() (Running, error) {
		return runningPipe{src, p.stay}, src.Start()
	}}, nil
}

type runningPipe struct {
	*pipe.Source
	stay bool
}

func (r runningPipe) Done() <-chan struct{} {
	if r.stay {
		return nil
	}
	return r.Source.Done()
}

func (r runningPipe) Counters() map[string]uint64 {
	s := r.Stats()
	return map[string]uint64{
		"packets": s.Packets, "bytes": s.Bytes, "cut": s.Cut, "unseen": s.Unseen,
		"lost": s.Lost, "left_out": s.LeftOut, "reopened": s.Reopened,
	}
}
