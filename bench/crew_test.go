package bench

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// affinity is the cores that the calling thread may run on.
func affinity(t *testing.T) (all []int) {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Error(err) // not Fatal: the thread is not the test's
	}
	for core := range len(set) * 64 {
		if set.IsSet(core) {
			all = append(all, core)
		}
	}
	return all
}

func TestCrewHasTheReaderOnAnotherCoreThanASingleWriter(t *testing.T) {
	on, err := cores()
	if err != nil {
		need.Skip(t, need.System, "%v", err)
	}
	for writers := 1; writers <= min(len(on), runtime.GOMAXPROCS(0)); writers++ {
		c, err := newCrew(writers)
		if err != nil {
			t.Fatal(err)
		}
		var reader []int
		writer := make([][]int, writers)
		laps, s := c.laps(time.Nanosecond, func(i int) { writer[i] = affinity(t) }, func() { reader = affinity(t) })
		c.close()
		if laps != 1 || s.Elapsed <= 0 {
			t.Errorf("%d writers: %d laps in %v: want one, in some time", writers, laps, s.Elapsed)
		}
		if want := on[len(on)-1:]; !slices.Equal(reader, want) {
			t.Errorf("%d writers: the reader may run on cores %v, want %v", writers, reader, want)
		}
		for i, got := range writer {
			if want := on[i : i+1]; !slices.Equal(got, want) {
				t.Errorf("%d writers: writer %d may run on cores %v, want %v", writers, i, got, want)
			}
		}
	}
}

func TestCrewOfMoreWritersThanCoresHasThemAll(t *testing.T) {
	if _, err := cores(); err != nil {
		need.Skip(t, need.System, "%v", err)
	}
	n := 3 * runtime.GOMAXPROCS(0)
	c, err := newCrew(n)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	worked := make([]int, n)
	laps, _ := c.laps(time.Nanosecond, func(i int) { worked[i]++ }, func() {})
	for i, got := range worked {
		if got != laps+1 { // and one to warm up
			t.Errorf("writer %d has worked %d times in %d laps and one to warm up", i, got, laps)
		}
	}
}

func TestOneCoreIsTooFewForAReaderOfItsOwn(t *testing.T) {
	p, err := pin(affinity(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.run(func() { _, err = newCrew(1) })
	if !errors.Is(err, errSkip) {
		t.Errorf("error %v, want that it is skipped", err)
	}
}

func TestPinRefusesACoreThatIsNotThere(t *testing.T) {
	if p, err := pin(1023); err == nil {
		p.close()
		t.Error("no error")
	}
}
