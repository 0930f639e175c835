package top

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
)

var update = flag.Bool("update", false, "write the golden files anew")

// example is a namespace with what there can be in one.
func example() *Report {
	who := func(peer uint64, pid int, uid uint32) attach.Peer {
		return attach.Peer{ID: peer, PID: pid, UID: uid, GID: uid}
	}
	slow := attach.SocketStatus{
		ID: 1, Peer: who(1, 4242, 1000), Opened: noon.Add(-200 * time.Second), Device: "net0", Filter: 12,
		Ring: &attach.RingStatus{Version: "V2", Slots: 4096, SlotBytes: 2048, States: strings.Repeat("R", 250) + "w....R", Head: 251},
	}
	owned := attach.SocketStatus{
		ID: 2, Peer: who(2, 17, 0), Opened: noon.Add(-26 * time.Hour), Device: "wg0",
		Ring: &attach.RingStatus{Version: "V3", Slots: 8, SlotBytes: 1 << 20, States: "..ww...R", Head: 3},
	}
	queued := attach.SocketStatus{ID: 1, Peer: who(3, 99, 1000), Opened: noon.Add(-time.Second / 2), Queue: 66}
	before := attach.Status{Time: noon.Add(-time.Second)}
	before.Devices = []attach.DeviceStatus{
		{Index: 2, Name: "net0", Type: "ethernet", Addr: "02:72:78:72:00:02", Addrs: []string{"192.0.2.1/24", "2001:db8::1/64"}, MTU: 65536, Up: true,
			Description: attach.Description{Source: "streams:4"}},
		{Index: 3, Name: "wg0", Type: "raw-ip", MTU: 1420,
			Description: attach.Description{Source: "iface:wg0", Counters: map[string]uint64{"kernel_drops": 12, "packets": 99_000_000}}},
	}
	before.Sockets = []attach.SocketStatus{slow, owned}
	now := before
	now.Time = noon
	now.Devices = slices.Clone(before.Devices)
	now.Devices[1].Counters = map[string]uint64{"kernel_drops": 15, "packets": 99_123_456}
	slow.Offered, slow.Filtered, slow.Captured, slow.Dropped = 1_234_567, 1000, 1_133_567, ring.Drops{ring.Full: 100_000}
	owned.Offered, owned.Captured, owned.Dropped, owned.Sent = 50, 43, ring.Drops{ring.Owned: 3, ring.NoRoom: 4}, 2
	queued.Offered, queued.Captured = 7, 7
	now.Sockets = []attach.SocketStatus{slow, owned, queued}
	r := Compare(before, now)
	r.Sockets[0].User, r.Sockets[0].Program = "alice", "tcpdump"
	r.Sockets[1].User, r.Sockets[1].Program = "root", "dumpcap"
	return r
}

func TestScreens(t *testing.T) {
	r := example()
	screens := map[string]screen{
		"once":       {width: 80},
		"once-wide":  {width: 132, order: ByDrops},
		"once-pipe":  {},
		"live":       {width: 80, height: 30, live: true},
		"live-color": {width: 80, height: 30, live: true, colors: colors()},
		"live-small": {width: 80, height: 20, live: true, selected: keyOf(&r.Sockets[0].SocketStatus), order: ByHeld},
		"live-least": {width: 40, height: 10, live: true, paused: true},
		"help":       {width: 80, height: 24, live: true, help: true},
		"lost":       {width: 60, height: 24, live: true, trouble: "no answer (retrying): attach: /run/user/1000/rxring.sock: nothing listens there any more"},
	}
	for name, s := range screens {
		t.Run(name, func(t *testing.T) {
			s.path, s.report = "/run/user/1000/rxring.sock", r
			compareGolden(t, name, s)
		})
	}
	t.Run("nobody", func(t *testing.T) {
		nobody := *r
		nobody.Sockets = nil
		compareGolden(t, "nobody", screen{path: "/tmp/s", report: &nobody, width: 80})
	})
}

func compareGolden(t *testing.T, name string, s screen) {
	t.Helper()
	got := strings.ReplaceAll(strings.Join(s.lines(), "\n"), "\x1b", "^") + "\n"
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestScreenFitsEveryTerminal(t *testing.T) {
	need.Time(t, "it draws many screens")
	r := example()
	for i := range 20 {
		s := r.Sockets[i%3]
		s.Peer.ID = uint64(10 + i)
		s.Device = strings.Repeat("\u65e5", i)
		r.Sockets = append(r.Sockets, s)
		r.Devices = append(r.Devices, r.Devices[i%2])
	}
	selected := keyOf(&r.Sockets[11].SocketStatus)
	for width := 0; width < 150; width += 1 + width/8 {
		for height := 0; height < 60; height += 1 + height/8 {
			for _, s := range []screen{
				{live: true}, {help: true, live: true}, {trouble: "a b " + strings.Repeat("/c", 40)}, {colors: colors(), live: true, order: ByDrops},
			} {
				s.path, s.report, s.selected, s.width, s.height = "/tmp/somewhere/s", r, selected, width+1, height
				lines := s.lines()
				if height > 0 && len(lines) > height {
					t.Fatalf("%d lines on a terminal of %dx%d", len(lines), s.width, height)
				}
				for _, l := range lines {
					if ansi.StringWidth(l) > s.width {
						t.Fatalf("on a terminal of %dx%d a line of %d columns: %q", s.width, height, ansi.StringWidth(l), l)
					}
				}
			}
		}
	}
}

func TestSelectedReaderIsAlwaysSeen(t *testing.T) {
	r := example()
	r.Sockets = r.Sockets[:1]
	for i := range 30 {
		s := r.Sockets[0]
		s.Peer.ID, s.Peer.PID = uint64(10+i), 5000+i
		r.Sockets = append(r.Sockets, s)
	}
	for i := range r.Sockets {
		for height := 9; height < 40; height++ {
			s := screen{report: r, width: 80, height: height, live: true, selected: keyOf(&r.Sockets[i].SocketStatus)}
			want := fmt.Sprintf("> tcpdump alice pid %d net0", r.Sockets[i].Peer.PID)
			if !slices.ContainsFunc(s.lines(), func(l string) bool { return strings.HasPrefix(l, want) }) {
				t.Fatalf("on %d lines: no %q in\n%s", height, want, strings.Join(s.lines(), "\n"))
			}
		}
	}
}

func TestColorsSayNothingThatLettersDoNot(t *testing.T) {
	plain := screen{path: "/tmp/s", report: example(), width: 80, height: 24, live: true}
	colored := plain
	colored.colors = colors()
	for i, l := range colored.lines() {
		// Blanks at the end have a style there.
		if got, want := strings.TrimRight(ansi.Strip(l), " "), plain.lines()[i]; got != want {
			t.Errorf("line %d without colours is %q, want %q", i, got, want)
		}
	}
}

func TestNamesCannotWriteToTheTerminal(t *testing.T) {
	const evil = "\x1b]0;title\a\x1b[2J\u009b1m\r\n\u202eevil"
	r := example()
	for i := range r.Sockets {
		s := &r.Sockets[i]
		s.User, s.Program, s.Device = evil, evil, evil
		if s.Ring != nil {
			s.Ring.Version, s.Ring.States = evil, evil
		}
	}
	for i := range r.Devices {
		d := &r.Devices[i]
		d.Name, d.Type, d.Source, d.Addrs, d.Counters = evil, evil, evil, []string{evil}, map[string]uint64{evil: 1}
	}
	for _, s := range []screen{{report: r}, {report: r, live: true, height: 50}, {report: &Report{Devices: r.Devices}}} {
		s.path, s.trouble, s.width = evil, evil, 200
		text := strings.Join(s.lines(), "")
		if i := strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c >= 0x80 }); i >= 0 {
			t.Errorf("%q is on the screen, in %q", text[i], text[max(0, i-20):i+1])
		}
	}
}

// In a pipe or a file there is no edge of a screen to cut at.
func TestWithoutAWidthNothingIsCut(t *testing.T) {
	r := example()
	program := "a-program-with-a-very-long-name-of-its-own-and-then-some"
	source := "file:" + strings.Repeat("/directory", 20) + "/trace.pcapng"
	r.Sockets[0].Program, r.Sockets[0].Device = program, "fifteen-letters"
	r.Devices[0].Name, r.Devices[0].Type, r.Devices[0].Source = "fifteen-letters", "ieee802.11-radiotap", source
	s := screen{path: "/tmp/" + strings.Repeat("p", 90) + "/rxring.sock", report: r}
	text := strings.Join(s.lines(), "\n")
	for _, want := range []string{s.path, program + " alice pid 4242 fifteen-letters ", source + ", 192.0.2.1/24, 2001:db8::1/64", "fifteen-letters ieee802.11-radiotap up", "OFFERED/s"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
