package conformance

import (
	"errors"
	"flag"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/racetest"
)

var (
	scriptsFlag = flag.Int("conformance.scripts", defaultScripts(), "how many generated scripts to run, and half as many of plain sockets and sending")
	soakFlag    = flag.Duration("conformance.soak", 0, "run generated scripts for so long instead")
	seedFlag    = flag.Int("conformance.seed", 0, "seed of the first generated script; 0: the clock's when soaking, otherwise always the same")
)

// Under the race detector a script takes ten times as long, and mostly waits for itself.
func defaultScripts() int {
	if racetest.Enabled {
		return 200
	}
	return 1000
}

func TestGeneratedScripts(t *testing.T) {
	need.Time(t, "it runs many scripts on the kernel")
	if generated(t, here, scripts, scriptCount()) >= 1000 {
		seen.enough(t)
	}
}

// TestGeneratedPlainScripts is the same for sockets that send to each other, and
// mostly have no receive ring.
func TestGeneratedPlainScripts(t *testing.T) {
	need.Time(t, "it runs many scripts on the kernel")
	need.Serial(t)
	before := seen.moved()
	if same := generated(t, here, plainScripts, scriptCount()/2); same >= 500 && seen.moved() < before+2*same {
		t.Errorf("%d scripts sent and received %d frames: want two each at least", same, seen.moved()-before)
	}
}

// TestGeneratedScriptsAttached is the same once more with all of rxring's calls made
// from another process, as it were: what is true of its sockets must be true there.
func TestGeneratedScriptsAttached(t *testing.T) {
	need.Time(t, "it attaches generated scripts")
	generated(t, attached, scripts, *scriptsFlag/4)
	generated(t, attached, plainScripts, *scriptsFlag/8)
}

// TestGeneratedScriptsInterposed is the same with a program under rxring run that
// makes the calls: options, addresses and read are the kernel's there, too.
func TestGeneratedScriptsInterposed(t *testing.T) {
	need.Serial(t)
	need.Time(t, "it interposes on generated scripts")
	generated(t, interposed, scripts, *scriptsFlag/20)
	generated(t, interposed, plainScripts, *scriptsFlag/20)
}

// failure is a generated script that was not the same on both sides.
type failure struct {
	seed int
	err  error
}

// generated runs so many scripts, or for as long as it is told, and returns how
// many were the same on both sides: 0 when one was not.
func generated(t *testing.T, w where, scripts *rapid.Generator[script], count int) (same int) {
	if t.Failed() {
		return 0 // rapid shrinks no script in a test that has failed
	}
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		if seed := flag.Lookup("rapid.seed").Value.String(); seed != "0" {
			shrink(t, w, scripts, seed)
			return
		}
		base := *seedFlag
		switch {
		case base != 0:
		case *soakFlag > 0:
			base = int(time.Now().UnixNano() & (1<<40 - 1))
		default: // a change is checked by its effects
			base = 1
		}
		start := time.Now()
		var (
			ran    int
			failed atomic.Pointer[failure]
		)
		seeds := func(yield func(int) bool) {
			more := func() bool { return ran < count }
			if *soakFlag > 0 {
				more = func() bool { return time.Since(start) < *soakFlag }
			}
			for ; failed.Load() == nil && more() && yield(base+ran); ran++ {
			}
		}
		late := inLabs(t, w, seeds, func(l *lab, seed int) {
			if err := l.run(scripts.Example(seed)); err != nil {
				failed.Store(&failure{seed, err})
			}
		})
		seen.log(t)
		t.Logf("seeds from %d on, %v; %d scripts with timers needed %d times their time", base, time.Since(start).Round(time.Millisecond), late, tooSlow)
		if f := failed.Load(); f != nil {
			shrink(t, w, scripts, strconv.Itoa(f.seed))
			t.Errorf("seed %d differed once, and not again: %v", f.seed, f.err)
			return
		}
		if late > 3+ran/100 {
			t.Errorf("%d of %d scripts were the same with %d times their time only: want few", late, ran, tooSlow)
		}
		same = ran
	})
	return same
}

// shrink runs the script of one seed, and if it differs finds the smallest that
// does: rapid makes its parts simple, and then no step is left that could be
// left out.
func shrink(t *testing.T, w where, scripts *rapid.Generator[script], seed string) {
	t.Helper()
	for name, val := range map[string]string{"rapid.seed": seed, "rapid.checks": "1", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, val); err != nil {
			t.Fatal(err)
		}
	}
	l, err := newLab(w)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var last *difference
	defer func() { // rapid.Check does not return
		if last != nil {
			t.Errorf("the kernel and rxring differ: smallest script\n\n%v", l.smallest(last))
		}
	}()
	// rapid checks its clock between passes only, and a script takes a while.
	var deadline time.Time
	patience := flag.Lookup("rapid.shrinktime").Value.(flag.Getter).Get().(time.Duration)
	rapid.Check(t, func(t *rapid.T) {
		sc := scripts.Draw(t, "script")
		if last != nil && deadline.IsZero() {
			deadline = time.Now().Add(patience)
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			return // enough: what is found is small
		}
		if err := l.run(sc); err != nil {
			errors.As(err, &last)
			t.Fatalf("the kernel and rxring differ\n\n%v", err)
		}
	})
}

// smallest leaves out every step that the difference does not need, and makes
// the packets that it does need ordinary ones.
func (l *lab) smallest(d *difference) *difference {
	differs := func(sc script) (smaller bool) {
		var found *difference
		if smaller = errors.As(l.run(sc), &found); smaller {
			d = found
		}
		return smaller
	}
	for again := true; again; {
		again = false
		for i := len(d.script) - 1; i >= 0; i-- {
			if differs(slices.Delete(slices.Clone(d.script), i, i+1)) {
				again = true
				i = min(i, len(d.script))
			}
		}
	}
	for i := 0; i < len(d.script); i++ {
		for _, o := range simpler(d.script[i]) {
			sc := slices.Clone(d.script)
			sc[i] = o
			if differs(sc) && i < len(d.script) {
				break
			}
		}
	}
	return d
}

// simpler are steps to try in the place of o, the simplest first.
func simpler(o op) (out []op) {
	switch o := o.(type) {
	case arrive:
		for _, times := range []int{1, 2, o.times} {
			for _, p := range []packet{hello, o.packet} {
				out = append(out, arrive{o.dev, p, times, whole})
			}
		}
	case leave:
		for _, a := range simpler(arrive(o)) {
			out = append(out, leave(a.(arrive)))
		}
	}
	return out
}

// scriptCount is -conformance.scripts, or a tenth of it with -short.
func scriptCount() int {
	if testing.Short() {
		return *scriptsFlag / 10
	}
	return *scriptsFlag
}
