package feed

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file"
)

// filePlan is file:PATH[,OPTION]…
type filePlan struct {
	path string
	pace bool // a speed is given
	cfg  file.Config
}

// defaultBase is what devices are called whose interfaces in the file have no name
// that a device can have: net0, net1 ...
const defaultBase = "net"

func parseFile(s *Spec) (_ plan, err error) {
	p := filePlan{path: s.arg, cfg: file.Config{Wait: true}}
	if s.arg == "" {
		return nil, errors.New("no file: want file:PATH, for instance file:trace.pcapng")
	}
	if err := s.want(map[string]bool{"speed": true, "loop": true, "now": false}); err != nil {
		return nil, err
	}
	_, p.cfg.Now = s.option("now")
	if text, ok := s.option("speed"); ok {
		p.pace = true
		if p.cfg.Speed, err = parseSpeed(text); err != nil {
			return nil, err
		}
	}
	if text, ok := s.option("loop"); ok && text == "" {
		p.cfg.Loop = file.Forever
	} else if p.cfg.Loop, err = s.number("loop", 1, math.MaxInt32); err != nil {
		return nil, fmt.Errorf("%w, or loop alone, for ever", err)
	}
	return p, nil
}

// maxSpeed makes a year a second.
const maxSpeed = 365 * 24 * 3600

func parseSpeed(text string) (float64, error) {
	if text == "max" {
		return file.FullSpeed, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v > 0 && v <= maxSpeed) {
		return 0, fmt.Errorf("speed=%s: want a multiple of the pace it was captured in, such as 1, 0.5 or 10, or max", text)
	}
	return v, nil
}

func (p filePlan) open(c Config) (*Feed, error) {
	f, err := file.Open(p.path)
	if err != nil {
		return nil, err
	}
	configs := f.Devices(defaultBase)
	if c.name != "" {
		if len(configs) != 1 {
			return nil, fmt.Errorf("it has packets of %d interfaces: want it without a name", len(configs))
		}
		configs[0].Name = c.name
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
	if c.Patient {
		cfg.Hold = func() bool {
			return slices.ContainsFunc(devices, func(d *rxring.Device) bool { return !d.Room(file.MaxBatch) })
		}
	} else if !p.pace {
		cfg.Speed = 1
	}
	if c.Progress != nil {
		cfg.Progress = func(at file.Progress) {
			if at.Size > 0 {
				c.Progress(min(float64(at.Offset)/float64(at.Size), 1))
			}
		}
	}
	return &Feed{Devices: devices, start: func() (Running, error) {
		s, err := f.Start(devices, cfg)
		if err != nil {
			return nil, err
		}
		return runningFile{s}, nil
	}}, nil
}

type runningFile struct{ *file.Source }

func (r runningFile) Counters() map[string]uint64 {
	s := r.Stats()
	return map[string]uint64{"packets": s.Packets, "bytes": s.Bytes, "cut": s.Cut, "unseen": s.Unseen, "loops": s.Loops}
}
