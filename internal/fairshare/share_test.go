package fairshare

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

// newShares makes shares that used so much of one pool in the window that ends now.
func newShares(used ...int64) (*Pool, []*Share) {
	p := new(Pool)
	var all []*Share
	for _, u := range used {
		s := &Share{pool: p}
		s.suspect.Store(true)
		p.list(s)
		s.used.Store(u)
		all = append(all, s)
	}
	return p, all
}

func TestTheLevelIsFair(t *testing.T) {
	for _, c := range []struct {
		what string
		used []int64
		over []int // of them: nobody knows how much more they want
		want int64
	}{
		{"nobody", nil, nil, aloneTime},
		{"a light user alone", []int64{1}, nil, aloneTime},
		{"a heavy user alone", []int64{aloneTime}, []int{0}, aloneTime},
		{"two light users", []int64{1000, 2000}, nil, mostTime},
		{"a light and a heavy one", []int64{1000, mostTime}, []int{1}, mostTime},
		{"four heavy ones", []int64{mostTime, mostTime, mostTime, mostTime}, []int{0, 1, 2, 3}, poolTime / 4},
		{"a middling one beside three heavy ones", []int64{poolTime / 10, mostTime, mostTime, mostTime}, []int{1, 2, 3}, (poolTime - poolTime/10) / 3},
		{"ten middling ones", []int64{9e5, 9e5, 9e5, 9e5, 9e5, 9e5, 9e5, 9e5, 9e5, 9e5}, nil, mostTime},
	} {
		_, shares := newShares(c.used...)
		for _, i := range c.over {
			shares[i].over.Store(true)
		}
		if got := fairLevel(shares); got != c.want {
			t.Errorf("%s: level %d, want %d", c.what, got, c.want)
		}
	}
}

// Whatever shares want, those who get less than they want get the same, no one gets less than
// its part, and together they take no more than the pool.
func TestTheLevelDividesThePool(t *testing.T) {
	for range 2000 {
		used := make([]int64, 2+rand.IntN(20))
		for i := range used {
			used[i] = rand.Int64N(2 * poolTime / int64(1+rand.IntN(len(used))))
		}
		_, shares := newShares(used...)
		level := fairLevel(shares)
		if level > mostTime || level < poolTime/int64(len(used)) && level != mostTime {
			t.Fatalf("%v: level %d", used, level)
		}
		sum := int64(0)
		for _, u := range used {
			sum += min(u, level)
		}
		if sum > poolTime {
			t.Fatalf("%v: level %d: together %d, want at most %d", used, level, sum, poolTime)
		}
	}
}

// A share that took ten windows' worth at once is skipped until it has paid.
func TestAShareIsPaid(t *testing.T) {
	p, shares := newShares(0, 0)
	heavy, light := shares[0], shares[1]
	at := int64(0)
	p.nextWindow(at)
	heavy.charge(at, 10*mostTime, true)
	light.charge(at, 1000, true)
	if !heavy.over.Load() || light.over.Load() {
		t.Fatalf("heavy over: %v, light over: %v", heavy.over.Load(), light.over.Load())
	}
	windows := 0
	for heavy.over.Load() {
		windows++
		at += shareWindow
		p.nextWindow(at)
		light.charge(at, 1, true)
		if light.over.Load() {
			t.Fatal("the light one pays, too")
		}
		if windows > 100 {
			t.Fatal("it is never paid")
		}
	}
	if windows < 10-savings || windows > 10 {
		t.Errorf("paid after %d windows, want 10 less what was saved", windows)
	}
	// Savings are bounded, too.
	for range 1000 {
		at += shareWindow
		light.charge(at, 1, true)
		heavy.charge(at, 1, true)
		p.nextWindow(at)
	}
	if saved := -light.used.Load(); saved < savings*p.level.Load()-10 || saved > savings*p.level.Load() {
		t.Errorf("%d ns saved, want %d windows of %d", saved, savings, p.level.Load())
	}
	// However long one packet took, a second later it is forgotten.
	heavy.charge(at, 1<<60, true)
	for windows = 0; heavy.over.Load(); windows++ {
		at += shareWindow
		p.nextWindow(at)
	}
	if windows > maxDebt+1 {
		t.Errorf("a long packet is paid after %d windows, want at most %d", windows, maxDebt+1)
	}
	// Nobody delivers for a minute: that pays, too.
	heavy.charge(at, 1<<60, true)
	at += 3000 * shareWindow
	p.nextWindow(at)
	if heavy.over.Load() {
		t.Error("a minute without packets does not pay")
	}
}

func TestAnIdleShareIsNotCounted(t *testing.T) {
	p, shares := newShares(1000, 1000)
	at := int64(0)
	for range idleWindows + 10 {
		at += shareWindow
		shares[0].charge(at, 1000, true)
		p.nextWindow(at)
	}
	if len(p.shares) != 1 || shares[1].listed.Load() {
		t.Errorf("%d shares listed, the idle one: %v", len(p.shares), shares[1].listed.Load())
	}
	shares[1].charge(at, 1000, true)
	if len(p.shares) != 2 {
		t.Error("a share that is used again is not listed again")
	}
}

// The samples stand for all packets: what is charged is what was spent, within a tenth,
// however a filter's cost changes from packet to packet.
func TestSamplesStandForAll(t *testing.T) {
	for _, c := range []struct {
		what string
		cost func(i int) int64
	}{
		{"all the same", func(int) int64 { return 100 }},
		{"dear", func(int) int64 { return 20_000 }},
		{"one of ten is dear", func(int) int64 { return 100 + 12_000*int64(rand.IntN(10)/9) }},
		{"each 32nd is dear", func(i int) int64 {
			if i%32 == 0 {
				return 12_000
			}
			return 100
		}},
		{"cheap, dear, cheap, ...", func(i int) int64 { return 100 + 12_000*int64(i/1000%2) }},
	} {
		var (
			m              Meter
			spent, charged int64
			samples        int
		)
		const n = 400_000
		for i := range n {
			cost := c.cost(i)
			spent += cost
			if m.Due() {
				samples++
				charged += m.weigh(cost)
			}
		}
		if ratio := float64(charged) / float64(spent); ratio < 0.85 || ratio > 1.15 {
			t.Errorf("%s: charged %.2f of what was spent, by %d samples", c.what, ratio, samples)
		}
	}
}

// One sample in whose middle another thread ran costs a user no window.
func TestAnOutlierIsNoThrottling(t *testing.T) {
	var m Meter
	charged := int64(0)
	for i := range 10_000 {
		cost := int64(100)
		if i == 5000 {
			m.left.Store(0) // this one is measured
			cost = 1 << 30
		}
		if m.Due() {
			charged += m.weigh(cost)
		}
	}
	if charged > outlier+3_000_000 {
		t.Errorf("charged %d ns", charged)
	}
	// Twice in a row it is no outlier.
	m.left.Store(0)
	m.Due()
	m.weigh(1 << 30)
	if m.Due(); m.weigh(1<<30) < 1<<30 {
		t.Error("what is dear twice is not charged")
	}
}

func TestAccountsAreChargedConcurrently(t *testing.T) {
	p, shares := newShares(0, 0, 0, 0)
	var all sync.WaitGroup
	for _, s := range shares {
		for range 2 {
			all.Go(func() {
				for i := range int64(5000) {
					s.charge(i*shareWindow/50, 1000, true)
					s.Exceeded()
				}
			})
		}
	}
	all.Wait()
	if len(p.shares) != len(shares) {
		t.Errorf("%d shares, want %d", len(p.shares), len(shares))
	}
}

// Who takes too much by the clock on the wall is measured exactly, and is forgotten after a
// second of calm.
func TestASuspectIsMeasuredExactly(t *testing.T) {
	p, shares := newShares(0, 0)
	s := shares[0]
	s.suspect.Store(false)
	p.nextWindow(0)
	if w := s.Start(); w.exact {
		t.Error("who did nothing is a suspect")
	}
	s.charge(0, 1<<40, false)
	if !s.suspect.Load() || s.over.Load() || s.used.Load() != 0 {
		t.Errorf("by the clock on the wall: suspect %v, over %v, used %d", s.suspect.Load(), s.over.Load(), s.used.Load())
	}
	s.charge(0, 1<<40, false) // measured before the suspicion
	if s.over.Load() {
		t.Error("what is not exact is charged to a suspect")
	}
	w := s.Start()
	if _, nanoseconds := w.stop(); !w.exact || nanoseconds < 0 {
		t.Errorf("exact: %v, %d ns", w.exact, nanoseconds)
	}
	s.charge(0, 1<<40, true)
	if !s.over.Load() {
		t.Error("a suspect may take what it likes")
	}
	at := int64(0)
	for range maxDebt + calmWindows + 5 {
		at += shareWindow
		p.nextWindow(at)
	}
	if s.suspect.Load() || s.over.Load() {
		t.Errorf("after a while of calm: suspect %v, over %v", s.suspect.Load(), s.over.Load())
	}
}

// Time in which another thread runs is not the share's.
func TestSleepIsNotCharged(t *testing.T) {
	_, shares := newShares(0)
	w := shares[0].Start()
	time.Sleep(20 * time.Millisecond)
	if _, nanoseconds := w.stop(); runtime.GOOS == "linux" && nanoseconds > int64(15*time.Millisecond) {
		t.Errorf("%d ns for 20 ms of sleep", nanoseconds)
	}
}

// Where another thread ran in the middle of one packet, packets count no multiple of their time
// in the next window.
func TestOnePreemptionIsNoDilation(t *testing.T) {
	p, _ := newShares(0, 0)
	at := int64(0)
	window := func(wall, thread int64) int64 {
		p.dilate(wall, thread)
		at += shareWindow
		p.nextWindow(at)
		return p.dilation.Load()
	}
	for range 4 * dilationWindows {
		window(200_000, 200_000)
	}
	if d := window(4_200_000, 200_000); d > 2*dilationUnit {
		t.Errorf("after 4 ms of another thread, once in %d windows: %d/%d", dilationWindows, d, dilationUnit)
	}
	// A machine that is busy all the time is.
	for range 4 * dilationWindows {
		window(800_000, 200_000)
	}
	if d := p.dilation.Load(); d < 3*dilationUnit || d > 4*dilationUnit {
		t.Errorf("where all takes four times as long: %d/%d", d, dilationUnit)
	}
}

// A suspect does not pay for being measured, which takes longer than most packets.
func TestMeasuringIsNotCharged(t *testing.T) {
	_, shares := newShares(0)
	cost := threadTimeCost()
	if cost < 100 {
		need.Skip(t, need.Inapplicable, "reading a thread's time takes no time on this system")
	}
	least := cost
	for range 1000 {
		w := shares[0].Start()
		_, nanoseconds := w.stop()
		least = min(least, nanoseconds)
	}
	if least > cost/2 {
		t.Errorf("%d ns for nothing, where measuring takes %d", least, cost)
	}
}
