package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/rxring/rxring/internal/size"
	"github.com/rxring/rxring/source/iface"
)

// ifacePlan is iface:NAME[,OPTION]…
type ifacePlan struct{ cfg iface.Config }

// maxSnaplen is tcpdump's default, in bytes.
const maxSnaplen = 262144

func parseIface(s *Spec) (_ plan, err error) {
	var p ifacePlan
	if p.cfg.Name = s.arg; s.arg == "" {
		return nil, errors.New("no interface: want iface:NAME, for instance iface:eth0")
	}
	if err := s.want(map[string]bool{"immediate": false, "buffer": true, "snaplen": true, "fanout": true, "nosend": false}); err != nil {
		return nil, err
	}
	_, p.cfg.Immediate = s.option("immediate")
	_, p.cfg.NoSend = s.option("nosend")
	if p.cfg.Snaplen, err = s.number("snaplen", 1, maxSnaplen); err != nil {
		return nil, err
	}
	if p.cfg.Fanout, err = s.number("fanout", 1, iface.MaxFanout); err != nil {
		return nil, err
	}
	if text, ok := s.option("buffer"); ok {
		n, err := size.Parse(text)
		if err != nil || n > math.MaxInt32 {
			return nil, fmt.Errorf("buffer=%s: want %s, less than 2GiB", text, size.Want)
		}
		p.cfg.Buffer = int(n)
	}
	return p, nil
}

func (p ifacePlan) inspect(context.Context) (opener, func(), error) { return p.open, nothing, nil }

func (p ifacePlan) open(c Config) (*Feed, error) {
	d, err := iface.Describe(p.cfg.Name)
	if err != nil {
		return nil, err
	}
	d.Name = cmp.Or(c.name, d.Name)
	dev, err := c.Namespace.AddDevice(d)
	if errors.Is(err, syscall.EEXIST) { // of the index, perhaps
		d.Index = 0
		dev, err = c.Namespace.AddDevice(d)
	}
	if err != nil {
		return nil, err
	}
	cfg := p.cfg
	cfg.Failed = c.Failed
	return &Feed{devices: fixed(dev), Returns: true, start: func() (Running, error) {
		s, err := iface.Start(dev, cfg)
		if err != nil {
			return nil, err
		}
		return runningIface{s}, nil
	}}, nil
}

type runningIface struct{ *iface.Source }

func (r runningIface) Counters() map[string]uint64 {
	s := r.Stats()
	return map[string]uint64{
		KernelDrops:      s.Drops,
		"kernel_freezes": s.Freezes,
		"packets":        s.Packets,
		"cut":            s.Cut,
		"waited_us":      uint64(s.Waited.Microseconds()),
		"opens":          s.Opens,
		"sent":           s.Sent,
		"send_errors":    s.SendErrors,
		"restarts":       s.Restarts,
	}
}
