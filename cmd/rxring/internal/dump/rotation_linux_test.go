package dump

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
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

// The file of a period is finished when the period is over, though no packet comes.
func TestRotationByTime(t *testing.T) {
	t.Parallel()
	need.Time(t, "it waits for periods of a second")
	for _, attached := range []bool{false, true} {
		t.Run(fmt.Sprintf("attached=%v", attached), func(t *testing.T) {
			t.Parallel()
			s, _ := start(t, Config{File: "x-%s", Rotation: Rotation{Period: time.Second}}, attached)
			finished := func() (files, packets int) {
				all, _ := filepath.Glob(filepath.Join(s.dir, "x-*"))
				for _, name := range all {
					if n, ok := s.finished(filepath.Base(name)); ok {
						files, packets = files+1, packets+n
					}
				}
				return files, packets
			}
			const packets = 3
			for i := range packets {
				s.deliver(numbered(t, i), time.Unix(1700000000, 0)) // a capture's time
				for n := -1; n != i+1; _, n = finished() {
					if t.Context().Err() != nil {
						t.Fatal("no file is finished")
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
			files, _ := finished()
			s.end()
			if r, err := s.wait(); err != nil || r.Captured != packets || r.Files != files || files < packets {
				t.Fatalf("%+v, %v; %d files were finished", r, err, files)
			}
		})
	}
}

// finished counts a file's packets, and says whether it ends with statistics.
func (s *scene) finished(name string) (packets int, ok bool) {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	const enhancedPacket, statistics = 6, 5
	for len(b) >= 8 {
		kind, length := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
		if length > len(b) {
			return packets, false // it is being written
		}
		if kind == enhancedPacket {
			packets++
		}
		ok = kind == statistics
		b = b[length:]
	}
	return packets, ok
}

func TestPeriodOfAPacket(t *testing.T) {
	start := time.Unix(1700000000, 0)
	f := files{rotation: Rotation{Period: time.Minute}, start: start}
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for _, c := range []struct {
		what   string
		packet time.Time
		now    time.Time
		want   int64
	}{
		{"at once", at(0), at(0), 0},
		{"live", at(59 * time.Second), at(59*time.Second + 1), 0},
		{"live, read in the next period", at(59 * time.Second), at(61 * time.Second), 0},
		{"of an old file", time.Unix(1, 0), at(61 * time.Second), 1},
		{"of the future", at(time.Hour), at(121 * time.Second), 2},
	} {
		if got := f.periodOf(c.packet.UnixNano(), c.now); got != c.want {
			t.Errorf("%s: period %d, want %d", c.what, got, c.want)
		}
	}
}

func TestEndsAfterSoManyPeriods(t *testing.T) {
	t.Parallel()
	need.Time(t, "it waits for periods of a second")
	s, _ := start(t, Config{File: "x", Rotation: Rotation{Period: time.Second, Files: 1}}, true)
	s.deliver(numbered(t, 1), time.Now())
	if r, err := s.wait(); err != nil || r.Captured != 1 || r.Files != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// Limits combine: the first that holds begins the next file, or ends the capture.
func TestLimitsCombine(t *testing.T) {
	const packet = 60
	for _, c := range []struct {
		what   string
		config Config
		want   string // packets of each file that is left
	}{
		{"packets", Config{Rotation: Rotation{Packets: 40}}, "[40 40 20]"},
		{"size, then packets", Config{Rotation: Rotation{Packets: 40, Size: 30 * (packet + packetBytes)}}, "[31 31 31 7]"},
		{"packets, then size", Config{Rotation: Rotation{Packets: 20, Size: 30 * (packet + packetBytes)}}, "[20 20 20 20 20]"},
		{"packets in an hour", Config{Rotation: Rotation{Packets: 40, Period: time.Hour}}, "[40 40 20]"},
		{"the newest", Config{Rotation: Rotation{Packets: 15, Keep: 3}}, "[15 15 10]"},
		{"in turn", Config{Rotation: Rotation{Packets: 30, Files: 3}}, "[10 30 30]"},
		{"bytes", Config{Bytes: 30*packet + 1, Rotation: Rotation{Packets: 20}}, "[20 11]"},
		{"bytes before the count", Config{Bytes: 30 * packet, Count: 50}, "[30]"},
		{"the count before bytes", Config{Bytes: 30 * packet, Count: 20}, "[20]"},
	} {
		c.config.File, c.config.Capture.Immediate = "x", true
		s, _ := start(t, c.config, false)
		for i := range 100 {
			s.deliver(numbered(t, i), time.Now())
		}
		s.end()
		if _, err := s.wait(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		var each []int
		for _, name := range []string{"x", "x0", "x1", "x2", "x3", "x4", "x5", "x6"} {
			if _, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
				each = append(each, len(s.packets(name)))
			}
		}
		if fmt.Sprint(each) != c.want {
			t.Errorf("%s: %v, want %s", c.what, each, c.want)
		}
	}
}

// The command runs for each file, once, when it is whole, in their order; its failure is an error.
func TestCommandForEachFile(t *testing.T) {
	for _, fails := range []bool{false, true} {
		command := "f() { sleep 0.02; echo ${1##*/} >>${1%/*}/log; cp $1 $1.copy; }; f"
		if fails {
			command = "false"
		}
		s, _ := start(t, Config{File: "x", Command: command, Rotation: Rotation{Packets: 30}, Capture: capture.Config{Immediate: true}}, false)
		for i := range 100 {
			s.deliver(numbered(t, i), time.Now())
		}
		s.end()
		r, err := s.wait()
		if r.Captured != 100 || r.Files != 4 {
			t.Errorf("%+v", r)
		}
		if fails {
			if err == nil || !strings.Contains(err.Error(), "-z false: failed for 4 of 4 files") {
				t.Errorf("error %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if log, err := os.ReadFile(filepath.Join(s.dir, "log")); string(log) != "x\nx1\nx2\nx3\n" {
			t.Errorf("%q, %v", log, err)
		}
		n := 0
		for _, name := range []string{"x", "x1", "x2", "x3"} {
			n += len(s.packets(name + ".copy"))
		}
		if n != 100 {
			t.Errorf("%d packets in copies", n)
		}
	}
}
