package feed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file"
)

// filePlan is file:PATH[,OPTION]…
type filePlan struct {
	path  string
	speed bool         // there is an option speed
	paced bool         // and it is not max
	stay  bool         // keep the devices after the end of the file
	addr  netip.Prefix // of the device; zero: none
	cfg   file.Config
}

// defaultBase is the base of the names net0, net1 ... of devices whose interface in the file
// has no name, or none that a device can have.
const defaultBase = "net"

// fileOptions says of each option of a file whether it has a value.
var fileOptions = map[string]bool{
	"speed": true, "loop": true, "now": false,
	"after": true, "readers": true, "stay": false, "addr": true,
}

const (
	maxAfter   = 24 * time.Hour
	maxReaders = 256 // sockets, as many as a program under run can have
)

func parseFile(s *Spec) (_ plan, err error) {
	p := filePlan{path: s.arg, cfg: file.Config{Wait: true}}
	if s.arg == "" {
		return nil, errors.New("no file: want file:PATH, for instance file:trace.pcapng")
	}
	if err := s.want(fileOptions); err != nil {
		return nil, err
	}
	_, p.cfg.Now = s.option("now")
	_, p.stay = s.option("stay")
	if text, ok := s.option("speed"); ok {
		if p.cfg.Speed, err = parseSpeed(text); err != nil {
			return nil, err
		}
		p.paced = p.cfg.Speed != file.FullSpeed
		p.speed = true
	}
	if p.addr, err = s.addr(); err != nil {
		return nil, err
	}
	if p.cfg.After, p.cfg.Readers, err = s.readers(); err != nil {
		return nil, err
	}
	if text, ok := s.option("loop"); ok && text == "" {
		p.cfg.Loop = file.Forever
	} else if p.cfg.Loop, err = s.number("loop", 1, math.MaxInt32); err != nil {
		return nil, fmt.Errorf("%w, or loop alone, for ever", err)
	}
	return p, nil
}

// addr returns the value of the option addr; zero if it is not given.
func (s *Spec) addr() (addr netip.Prefix, err error) {
	text, ok := s.option("addr")
	if !ok {
		return addr, nil
	}
	if addr, err = netip.ParsePrefix(text); err != nil {
		err = fmt.Errorf("addr=%s: want an IP address with the length of its network's prefix, such as 192.0.2.1/24", text)
	}
	return addr, err
}

// readers returns the values of the options after and readers, which say when readers are ready.
func (s *Spec) readers() (after time.Duration, n int, err error) {
	if text, ok := s.option("after"); ok {
		if after, err = time.ParseDuration(text); err != nil || after <= 0 || after > maxAfter {
			return 0, 0, fmt.Errorf("after=%s: want a time of at most %v, such as 3s or 500ms", text, maxAfter)
		}
	}
	n, err = s.number("readers", 1, maxReaders)
	return after, n, err
}

// maxSpeed plays a year in a second.
const maxSpeed = 365 * 24 * 3600

func parseSpeed(text string) (float64, error) {
	if text == "max" {
		return file.FullSpeed, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v > 0 && v <= maxSpeed) {
		return 0, fmt.Errorf("speed=%s: want a multiple of the pace at which it was captured, such as 1, 0.5 or 10, or max", text)
	}
	return v, nil
}

func (p filePlan) inspect(ctx context.Context) (opener, func(), error) {
	if info, err := os.Stat(p.path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, nil, fmt.Errorf("it is a FIFO, which can be read only once: want pcap:%s", strings.ReplaceAll(p.path, ",", ",,"))
	}
	f, err := file.Open(ctx, p.path)
	if err != nil {
		return nil, nil, err
	}
	return func(c Config) (*Feed, error) { return p.open(f, c) }, nothing, nil
}

func (p filePlan) open(f *file.File, c Config) (*Feed, error) {
	configs := f.Devices(defaultBase)
	if c.name != "" {
		if len(configs) != 1 {
			return nil, fmt.Errorf("the file has packets of %d interfaces: want it without a name", len(configs))
		}
		configs[0].Name = c.name
	}
	if p.addr.IsValid() {
		if len(configs) != 1 {
			return nil, fmt.Errorf("addr=%v: the file has packets of %d interfaces: want it without addr", p.addr, len(configs))
		}
		configs[0].Prefixes = []netip.Prefix{p.addr}
	}
	var devices []*rxring.Device
	for _, d := range configs {
		dev, err := c.Namespace.AddDevice(d)
		if err != nil {
			return nil, errors.Join(err, remove(devices))
		}
		devices = append(devices, dev)
	}
	cfg := p.cfg
	switch {
	case c.Patient:
		cfg.Room = (&patience{devices: devices, paced: p.paced}).room
	case !p.speed:
		cfg.Speed = 1
	}
	if c.Progress != nil {
		cfg.Progress = func(at file.Progress) {
			if at.Size > 0 {
				c.Progress(min(float64(at.Offset)/float64(at.Size), 1))
			}
		}
	}
	return &Feed{devices: fixed(devices...), LeftOut: f.Info().LeftOut, Extras: f.Info().Extras, Finite: !p.stay && cfg.Loop != file.Forever, start: func() (Running, error) {
		s, err := f.Start(devices, cfg)
		if err != nil {
			return nil, err
		}
		return runningFile{s, p.stay}, nil
	}}, nil
}

type runningFile struct {
	*file.Source
	stay bool
}

func (r runningFile) Done() <-chan struct{} {
	if r.stay {
		return nil
	}
	return r.Source.Done()
}

func (r runningFile) Counters() map[string]uint64 {
	s := r.Stats()
	return map[string]uint64{"packets": s.Packets, "bytes": s.Bytes, "cut": s.Cut, "unseen": s.Unseen, "loops": s.Loops}
}
