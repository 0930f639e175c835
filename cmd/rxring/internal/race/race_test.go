package race

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// short is hard enough to force every fault.
func short() Config {
	c := Default()
	c.Duration = 400 * time.Millisecond // the least that does
	return c
}

func run1(t *testing.T, c Config, d Contender) *Outcome {
	t.Helper()
	c.Designs = []Contender{d}
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", &text)
	o := &r.Designs[0]
	if dropped := o.Dropped.Sum(); o.Offered != o.Accepted+dropped {
		t.Errorf("offered %d, but accepted %d and dropped %d", o.Offered, o.Accepted, dropped)
	}
	if o.LostForNothing > o.Dropped[ring.Owned]+o.Dropped[ring.Releasing] {
		t.Errorf("lost %d for nothing, of %d dropped as owned or being released", o.LostForNothing, o.Dropped[ring.Owned]+o.Dropped[ring.Releasing])
	}
	return o
}

func TestEveryDesignHasAPromise(t *testing.T) {
	if len(promises) != len(Contenders()) || len(promises) != len(ownership.Designs())+1 {
		t.Fatalf("%d promises for %d contenders, %d of them designs", len(promises), len(Contenders()), len(ownership.Designs()))
	}
	for _, c := range Contenders() {
		if promises[c].how == "" || promises[c].expected == "" {
			t.Errorf("%v: nothing is said of it", c)
		}
		if got, err := ParseContender(c.String()); got != c || err != nil {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if _, err := ParseContender("fastest"); err == nil || !strings.Contains(err.Error(), `"fastest": want one of ticket, blocks, owner-map`) {
		t.Errorf("fastest: %v", err)
	}
	if c := short(); !c.forced() {
		t.Error("these tests do not force the faults")
	}
	if c := Default(); !c.forced() {
		t.Error("the default values do not force the faults")
	}
}

func TestRaceSafeDesignsKeepPacketsWhole(t *testing.T) {
	need.Time(t, "it races for seconds")
	for _, d := range []Contender{Blocks, Contender(ownership.Ticket), Contender(ownership.OwnerMap), Contender(ownership.Tail), Contender(ownership.ShadowRing), Contender(ownership.KernelOwned), Contender(ownership.ReleaseAfter)} {
		t.Run(d.String(), func(t *testing.T) {
			o := run1(t, short(), d)
			if o.Torn != 0 || o.Stuck || o.Repeated != 0 || o.Read != o.Accepted || o.Accepted == 0 {
				t.Errorf("torn %d, stuck %v, repeated %d, read %d of %d accepted", o.Torn, o.Stuck, o.Repeated, o.Read, o.Accepted)
			}
			if o.Verdict != OK {
				t.Errorf("verdict %s", o.Verdict)
			}
			locked := d != Contender(ownership.Ticket) && d != Contender(ownership.ReleaseAfter)
			if locked && o.LostForNothing != 0 {
				t.Errorf("%d packets lost for nothing by a design that changes status and owner as one: the proof is wrong", o.LostForNothing)
			}
		})
	}
}

// TestRaceBlocksInManyShapes: one block as well as many, blocks of one packet as
// well as of dozens.
func TestRaceBlocksInManyShapes(t *testing.T) {
	need.Time(t, "it races for seconds")
	for name, change := range map[string]func(*Config){
		"one block":      func(c *Config) { c.Slots = 1 },
		"five blocks":    func(c *Config) { c.Slots = 5 },
		"smallest block": func(c *Config) { c.Frame = minFrame },
		"large blocks":   func(c *Config) { c.Frame = 64 << 10 },
		"many writers":   func(c *Config) { c.Writers = 16 },
		"often slow":     func(c *Config) { c.SlowWriter = 0.5 },
	} {
		t.Run(name, func(t *testing.T) {
			c := short()
			c.Duration /= 2
			change(&c)
			if o := run1(t, c, Blocks); o.Accepted == 0 || o.Verdict != OK {
				t.Errorf("verdict %s: %+v", o.Verdict, *o)
			}
		})
	}
}

func TestRaceUnsafeDesignsShowTheirFault(t *testing.T) {
	need.Time(t, "it races for seconds")
	for d, shown := range map[Contender]func(*Outcome) bool{
		Contender(ownership.Unguarded):         func(o *Outcome) bool { return o.Torn > 0 },
		Contender(ownership.ReleaseBefore):     func(o *Outcome) bool { return o.Torn > 0 },
		Contender(ownership.ReleaseAfter):      func(o *Outcome) bool { return o.LostForNothing > 0 },
		Contender(ownership.ReleaseAfterPlain): func(o *Outcome) bool { return o.Torn > 0 || o.Stuck },
		Contender(ownership.SlotMark):          func(o *Outcome) bool { return o.Stuck },
	} {
		t.Run(d.String(), func(t *testing.T) {
			if o := run1(t, short(), d); !shown(o) || o.Verdict != OK {
				t.Errorf("verdict %s: %+v", o.Verdict, *o)
			}
		})
	}
}

// TestProbeOfARingThatSticksInTheMiddle: what the probe itself wrote and read
// counts as nobody's packet, also when only some of it went through.
func TestProbeOfARingThatSticksInTheMiddle(t *testing.T) {
	c := short()
	memory, err := ringmem.New(c.Slots * c.Frame)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	rd, err := newRound(&run{Config: &c, design: Contender(ownership.SlotMark), memory: memory}, false)
	if err != nil {
		t.Fatal(err)
	}
	tpacket.Header2At(rd.memory[c.Frame:]).Padding[0] = 1 // slot 1: a reader was here
	rd.probe()
	var o Outcome
	rd.addTo(&o)
	if !o.Stuck || rd.reader.read != 1 || o.Read != 0 || o.Accepted != 0 {
		t.Errorf("the probe's packets: %d read, of which %d count; want 1 and 0: %+v", rd.reader.read, o.Read, o)
	}
}

func TestRaceUnguardedTearsInOtherShapesToo(t *testing.T) {
	need.Time(t, "it races for seconds")
	for name, change := range map[string]func(*Config){
		"two writers":   func(c *Config) { c.Writers = 2 },
		"many writers":  func(c *Config) { c.Writers = 16 },
		"eight slots":   func(c *Config) { c.Slots = 8 },
		"large slots":   func(c *Config) { c.Frame = 64 << 10 },
		"rarely slow":   func(c *Config) { c.SlowWriter = 0.01 },
		"smallest slot": func(c *Config) { c.Frame = minFrame },
	} {
		t.Run(name, func(t *testing.T) {
			c := short()
			change(&c)
			if o := run1(t, c, Contender(ownership.Unguarded)); o.Torn == 0 {
				t.Errorf("nothing torn in %d packets", o.Read)
			}
		})
	}
}

// An outcome that is not forced need not occur; that is no failure.
func TestRaceWithOneWriterNothingCanTear(t *testing.T) {
	c := short()
	c.Writers, c.Duration = 1, 50*time.Millisecond
	o := run1(t, c, Contender(ownership.Unguarded))
	if o.Torn != 0 || o.Verdict != NotForced {
		t.Errorf("torn %d, verdict %s: want 0 and %s", o.Torn, o.Verdict, NotForced)
	}
}

func TestTornPacketIsExplained(t *testing.T) {
	need.Time(t, "it races")
	o := run1(t, short(), Contender(ownership.Unguarded))
	tear := o.Tear
	if tear == nil {
		t.Fatal("no torn packet was kept")
	}
	at := 0
	for _, r := range tear.Ranges {
		if r.From != at || r.To <= r.From {
			t.Errorf("range %v does not begin at byte %d", r, at)
		}
		at = r.To
	}
	if at != tear.Bytes {
		t.Errorf("the ranges end at byte %d of %d", at, tear.Bytes)
	}
	if len(tear.Ranges) < 2 && tear.Ranges[0].Packet == tear.Header {
		t.Errorf("all of one packet: %v", tear)
	}
	// The timeline shows those packets, in that slot, before the reader's visit.
	for _, p := range tear.involved() {
		i := slices.IndexFunc(tear.timeline.spans, func(s span) bool { return s.packet == p })
		if i < 0 {
			t.Errorf("%v is not in the timeline", p)
			continue
		}
		if s := tear.timeline.spans[i]; s.slot != tear.Slot || s.acquired > tear.timeline.read.returned {
			t.Errorf("%v was in slot %d from %v: torn slot %d was read at %v", p, s.slot, s.acquired, tear.Slot, tear.timeline.read.seen)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		o      Outcome
		forced bool
		want   Verdict
	}{
		"safe and whole":                     {Outcome{design: Contender(ownership.Ticket)}, true, OK},
		"safe but torn":                      {Outcome{design: Contender(ownership.Ticket), Torn: 1}, false, Failed},
		"safe but stuck":                     {Outcome{design: Contender(ownership.OwnerMap), Stuck: true}, false, Failed},
		"safe but a packet vanished":         {Outcome{design: Contender(ownership.Tail), Accepted: 2, Read: 1}, false, Failed},
		"safe but one came twice":            {Outcome{design: Contender(ownership.Tail), Accepted: 2, Read: 2, Repeated: 1}, false, Failed},
		"a lock that loses for nothing":      {Outcome{design: Contender(ownership.OwnerMap), LostForNothing: 1}, false, Failed},
		"ticket may lose one":                {Outcome{design: Contender(ownership.Ticket), LostForNothing: 1}, true, OK},
		"unguarded, torn":                    {Outcome{design: Contender(ownership.Unguarded), Torn: 1}, true, OK},
		"unguarded, only stuck":              {Outcome{design: Contender(ownership.Unguarded), Stuck: true}, true, Failed},
		"unguarded, nothing":                 {Outcome{design: Contender(ownership.Unguarded)}, true, Failed},
		"unguarded, nothing, not forced":     {Outcome{design: Contender(ownership.Unguarded)}, false, NotForced},
		"release-after, lost":                {Outcome{design: Contender(ownership.ReleaseAfter), LostForNothing: 1}, true, OK},
		"release-after, torn":                {Outcome{design: Contender(ownership.ReleaseAfter), LostForNothing: 1, Torn: 1}, true, Failed},
		"release-after-plain, stuck":         {Outcome{design: Contender(ownership.ReleaseAfterPlain), Stuck: true}, true, OK},
		"slot-mark, torn":                    {Outcome{design: Contender(ownership.SlotMark), Stuck: true, Torn: 1}, true, Failed},
		"slot-mark, stuck with much dropped": {Outcome{design: Contender(ownership.SlotMark), Stuck: true, LostForNothing: 9}, true, OK},
	} {
		if c.o.setVerdict(c.forced); c.o.Verdict != c.want {
			t.Errorf("%s: %s, want %s", name, c.o.Verdict, c.want)
		}
	}
}

func TestValuesThatCannotRunAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"writers 0: want 1 to 256":                         func(c *Config) { c.Writers = 0 },
		"slots -1: want 1 to 4096":                         func(c *Config) { c.Slots = -1 },
		"frame 100: want 256 to 1048576 bytes, a multiple": func(c *Config) { c.Frame = 100 },
		"frame 257: want":                                  func(c *Config) { c.Frame = 257 },
		"slots 4096: want at most 1024 of 1048576 bytes":   func(c *Config) { c.Slots, c.Frame = maxSlots, maxFrame },
		"slow-writer 1.5: want 0 to 1":                     func(c *Config) { c.SlowWriter = 1.5 },
		"slow-writer NaN: want 0 to 1":                     func(c *Config) { c.SlowWriter = math.NaN() },
		"duration 1ms: want 10ms to 1h0m0s":                func(c *Config) { c.Duration = time.Millisecond },
	} {
		c := Default()
		change(&c)
		_, err := Run(t.Context(), c)
		if refused := new(ConfigError); !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
}

func TestEndsEarlyWithWhatThereIs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := Default()
	c.Duration = time.Hour
	c.Progress = func(Contender, float64) { cancel() }
	r, err := Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if !r.EndedEarly || !r.OK || len(r.Designs) != 1 {
		t.Errorf("ended early %v, ok %v, %d designs: want true, true, 1", r.EndedEarly, r.OK, len(r.Designs))
	}
}

func TestReportsAreWellFormed(t *testing.T) {
	need.Time(t, "it races for a second")
	c := short()
	c.Designs = []Contender{Contender(ownership.Ticket), Contender(ownership.Unguarded)}
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		OK      bool
		Config  struct{ Writers, Slots int }
		Designs []struct {
			Design, Expected, Verdict string
			Offered, Accepted, Torn   uint64
			Tear                      *struct{ Ranges []struct{ From, To int } }
		}
	}
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if !back.OK || back.Config.Writers != 4 || len(back.Designs) != 2 || back.Designs[1].Torn == 0 || back.Designs[1].Tear == nil {
		t.Errorf("%s", b)
	}

	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "unguarded", "the torn packet", "prefers-color-scheme: dark"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, not := range []string{"ZgotmplZ", "<script", "http://", "https://", "NaN"} {
		if strings.Contains(page.String(), not) {
			t.Errorf("the page holds %q", not)
		}
	}
	for _, svg := range strings.Split(page.String(), "<svg")[1:] {
		svg, _, _ = strings.Cut("<svg"+svg, "</svg>")
		d := xml.NewDecoder(strings.NewReader(svg + "</svg>"))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("a drawing is no XML: %v", err)
			}
		}
	}
}
