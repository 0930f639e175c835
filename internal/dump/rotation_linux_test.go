package dump

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRotationBySize(t *testing.T) {
	packets := func(c Config) []int {
		c.File, c.Capture.Immediate = "x", true
		s, _ := start(t, c, false)
		for i := range 100 {
			s.deliver(append(numbered(t, i), make([]byte, 1000)...), time.Now())
		}
		s.end()
		if r, err := s.wait(); err != nil || r.Captured != 100 || r.Files != 10 {
			t.Fatalf("%+v, %v", r, err)
		}
		var each []int
		for _, name := range []string{"x", "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10"} {
			if info, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
				f := s.read(name)
				each = append(each, len(f.packets))
				// Packets that came in while another file was written count there.
				if info.Mode().Perm() != 0o600 {
					t.Errorf("mode %v", info.Mode())
				}
			}
		}
		return each
	}
	const tenPackets = 9*(1000+60+packetBytes) + 1
	if each := fmt.Sprint(packets(Config{Rotation: Rotation{Size: tenPackets}})); each != "[10 10 10 10 10 10 10 10 10 10]" {
		t.Error(each)
	}
	if each := fmt.Sprint(packets(Config{Rotation: Rotation{Size: tenPackets, Files: 3}})); each != "[10 10 10]" {
		t.Error(each)
	}
}

func TestRotationByTime(t *testing.T) {
	s, _ := start(t, Config{File: "x-%s", Rotation: Rotation{Period: time.Hour}}, false)
	began := time.Now()
	for i, after := range []time.Duration{0, time.Minute, 61 * time.Minute, -time.Hour, 62 * time.Minute, 5 * time.Hour} {
		s.deliver(numbered(t, i), began.Add(after+time.Second))
	}
	s.end()
	if r, err := s.wait(); err != nil || r.Captured != 6 || r.Files != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	all, _ := filepath.Glob(filepath.Join(s.dir, "x-*"))
	var each []int
	var received uint64
	for _, name := range all {
		f := s.read(filepath.Base(name))
		each = append(each, len(f.packets))
		received += f.received
	}
	// Never back to an earlier file.
	if fmt.Sprint(each) != "[2 3 1]" || received != 6 {
		t.Error(all, each, received)
	}
}

func TestEndsAfterSoManyPeriods(t *testing.T) {
	s, _ := start(t, Config{File: "x", Rotation: Rotation{Period: time.Second, Files: 1}}, true)
	s.deliver(numbered(t, 1), time.Now())
	if r, err := s.wait(); err != nil || r.Captured != 1 || r.Files != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
}
