package file

import (
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/delivery"
)

// In these tests time is synctest's: it stands still while anybody works, and a
// packet bears the time at which it was delivered.

// arrivals replays packets of the given times and returns when they came, counted
// from the start.
func arrivals(t *testing.T, cfg Config, times ...int64) (at []time.Duration) {
	t.Helper()
	path := write(t, func(w *capfile.Writer) error {
		var err error
		for i, ts := range times {
			err = errors.Join(err, w.WritePacket(0, ts, 60, frame(i, 60), 0))
		}
		return err
	}, eth0)
	synctest.Test(t, func(t *testing.T) {
		w := open(t, path).look(t, 1024)
		start := time.Now()
		cfg.Now = true
		s := w.start(t, cfg)
		<-s.Done()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, p := range w.read() {
			at = append(at, time.Duration(p.time-start.UnixNano()))
		}
	})
	return at
}

func TestPace(t *testing.T) {
	const s, ms, start = int64(time.Second), int64(time.Millisecond), 1700000000_123456789
	for name, c := range map[string]struct {
		cfg   Config
		times []int64
		want  []int64
	}{
		"as recorded":                       {Config{Speed: 1}, []int64{start, start + 1, start + 7*ms, start + 7*ms, start + s}, []int64{0, 1, 7 * ms, 7 * ms, s}},
		"ten times as fast":                 {Config{Speed: 10}, []int64{start, start + 7*ms, start + s}, []int64{0, 7 * ms / 10, s / 10}},
		"half as fast":                      {Config{Speed: 0.5}, []int64{start, start + 7*ms, start + s}, []int64{0, 14 * ms, 2 * s}},
		"at full speed":                     {Config{Speed: FullSpeed}, []int64{start, start + 7*ms, start + s}, []int64{0, 0, 0}},
		"a gap of a day":                    {Config{Speed: 1}, []int64{start, start + 86400*s}, []int64{0, 86400 * s}},
		"out of order by little":            {Config{Speed: 1}, []int64{start, start + 7*ms, start + 3*ms, start + 9*ms}, []int64{0, 7 * ms, 7 * ms, 9 * ms}},
		"the first one is late":             {Config{Speed: 1}, []int64{start, start - 3*ms, start + 9*ms}, []int64{0, 0, 9 * ms}},
		"the clock is set back by an hour":  {Config{Speed: 1}, []int64{start, start + 5*ms, start - 3600*s, start - 3600*s + 4*ms}, []int64{0, 5 * ms, 5 * ms, 9 * ms}},
		"the clock is set back, twice fast": {Config{Speed: 2}, []int64{start, start + 4*ms, start - 3600*s, start - 3600*s + 4*ms}, []int64{0, 2 * ms, 2 * ms, 4 * ms}},
		"a packet without a time":           {Config{Speed: 1}, []int64{start, start + 5*ms, 0, start + 6*ms}, []int64{0, 5 * ms, 5 * ms, 6 * ms}},
		"no packet has a time":              {Config{Speed: 1}, []int64{0, 0, 0}, []int64{0, 0, 0}},
		"two loops":                         {Config{Speed: 1, Loop: 2}, []int64{start, start + 4*ms, start + 6*ms}, []int64{0, 4 * ms, 6 * ms, 9 * ms, 13 * ms, 15 * ms}},
		"two loops at full speed":           {Config{Loop: 2}, []int64{start, start + 4*ms}, []int64{0, 0, 0, 0}},
		"one packet in three loops":         {Config{Speed: 1, Loop: 3}, []int64{start}, []int64{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			got := arrivals(t, c.cfg, c.times...)
			want := make([]time.Duration, len(c.want))
			for i := range want {
				want[i] = time.Duration(c.want[i])
			}
			if !slices.Equal(got, want) {
				t.Errorf("came after %v, want %v", got, want)
			}
		})
	}
}

// A packet every 1.000001 ms for 17 minutes: the last one comes when it should.
func TestNoErrorAddsUp(t *testing.T) {
	const n, every = 1000, 1000001_000
	times := make([]int64, n)
	for i := range times {
		times[i] = 1 + int64(i)*every
	}
	got := arrivals(t, Config{Speed: 3}, times...)
	for i, at := range got {
		if want := time.Duration(float64(int64(i)*every) / 3); at != want {
			t.Fatalf("packet %d came after %v, want %v", i, at, want)
		}
	}
	if len(got) != n {
		t.Errorf("%d packets", len(got))
	}
}

func TestPacersLimits(t *testing.T) {
	now := time.Unix(1700000000, 0)
	clock := func() time.Time { return now }
	p := pacer{speed: 1e-9}
	p.due(1, clock)
	if due := p.due(math.MaxInt64, clock); due.Before(now.AddDate(200, 0, 0)) {
		t.Errorf("due %v", due)
	}
	p = pacer{speed: math.MaxFloat64}
	p.due(1, clock)
	if due := p.due(math.MaxInt64, clock); !due.Equal(now) {
		t.Errorf("due %v", due)
	}
	for _, i := range []Info{{First: 1, Last: math.MaxInt64, Packets: 2}, {First: 1, Last: math.MaxInt64, Packets: 1}, {Packets: 3}, {First: 5, Last: 5, Packets: 1}} {
		for _, loop := range []int{0, 1, 2, math.MaxInt} {
			if ts := later(i.Last, i.shift(loop)); ts < i.Last {
				t.Errorf("%+v: time %d in loop %d", i, ts, loop)
			}
		}
	}
}

func TestTimesGoOnInLoops(t *testing.T) {
	w := open(t, frames(t, 3, 1000)).look(t, 64)
	s := w.start(t, Config{Loop: 3})
	<-s.Done()
	for i, p := range w.read() {
		if want := 1e9 + int64(i)*1000; p.time != want {
			t.Errorf("packet %d at %d, want %d", i, p.time, want)
		}
	}
	if got := s.Stats(); got.Loops != 3 || got.Packets != 9 {
		t.Errorf("stats %+v", got)
	}
}

func TestCloseEndsASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 2, int64(1000*time.Hour))).look(t, 16)
		s := w.start(t, Config{Speed: 1})
		synctest.Wait() // it sleeps
		if got := len(w.read()); got != 1 {
			t.Errorf("%d packets before the gap", got)
		}
		start := time.Now()
		if err := errors.Join(s.Close(), s.Close()); err != nil || time.Since(start) != 0 {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
		<-s.Done()
		if err := s.Err(); err != nil || s.Stats().Loops != 0 {
			t.Errorf("error %v, stats %+v", err, s.Stats())
		}
	})
}

func TestWaitBeginsWithAWatcherThatHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 100, 1))
		s := w.start(t, Config{Wait: true})
		time.Sleep(time.Minute)
		if got := s.Stats().Packets; got != 0 {
			t.Fatalf("%d packets without a socket", got)
		}
		w.look(t, 128)
		time.Sleep(SettleTime / 2)
		w.socket.Close() // as a process that only checks
		time.Sleep(SettleTime)
		w.look(t, 128)
		time.Sleep(SettleTime - delivery.WatchEvery)
		if got := s.Stats().Packets; got != 0 {
			t.Fatalf("%d packets before anybody settled", got)
		}
		<-s.Done()
		same(t, w.read(), inFile(t, w.file.path))
	})
	synctest.Test(t, func(t *testing.T) {
		s := open(t, frames(t, 100, 1)).start(t, Config{Wait: true})
		time.Sleep(time.Minute)
		if err := s.Close(); err != nil || s.Stats().Packets != 0 {
			t.Errorf("error %v, stats %+v", err, s.Stats())
		}
	})
}

// Each change of what sockets want of the device begins the settling time anew, but
// not for ever.
func TestWaitSettlesAfterTheLastSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 100, 1))
		s := w.start(t, Config{Wait: true})
		for range 5 {
			w.look(t, 128)
			time.Sleep(SettleTime - 2*delivery.WatchEvery)
		}
		if got := s.Stats().Packets; got != 0 {
			t.Fatalf("%d packets before the last socket had settled", got)
		}
		<-s.Done()
		same(t, w.read(), inFile(t, w.file.path))
	})
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 100, 1))
		s := w.start(t, Config{Wait: true})
		start := time.Now()
		for s.Stats().Packets == 0 {
			w.look(t, 128)
			time.Sleep(SettleTime / 2)
		}
		if d := time.Since(start); d < delivery.SettleLimit || d > delivery.SettleLimit+2*SettleTime {
			t.Errorf("began after %v beside a program that opens a socket all the time", d)
		}
	})
}

func TestWaitIsLongerForFanoutGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 100, 1)).look(t, 128)
		if err := w.socket.JoinFanout(rxring.FanoutConfig{ID: 7, Mode: rxring.FanoutHash}); err != nil {
			t.Fatal(err)
		}
		s := w.start(t, Config{Wait: true})
		time.Sleep(FanoutSettleTime - 2*delivery.WatchEvery)
		if got := s.Stats().Packets; got != 0 {
			t.Fatalf("%d packets before the group had settled", got)
		}
		<-s.Done()
		same(t, w.read(), inFile(t, w.file.path))
	})
}

func TestWaitForReadersAndForATime(t *testing.T) {
	need.Time(t, "it waits")
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 100, 1))
		s := w.start(t, Config{Wait: true, Readers: 2})
		w.look(t, 128)
		time.Sleep(time.Hour)
		if got := s.Stats().Packets; got != 0 {
			t.Fatalf("%d packets to one of two readers", got)
		}
		w.look(t, 128)
		<-s.Done()
		same(t, w.read(), inFile(t, w.file.path))
	})
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 100, 1)).look(t, 128)
		s := w.start(t, Config{Wait: true, After: 3 * time.Second})
		time.Sleep(3*time.Second - 2*delivery.WatchEvery)
		if got := s.Stats().Packets; got != 0 {
			t.Fatalf("%d packets early", got)
		}
		time.Sleep(5 * delivery.WatchEvery)
		if got := s.Stats().Packets; got != 100 {
			t.Fatalf("%d packets in time", got)
		}
	})
}

func TestHeldTimeIsNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, frames(t, 4, int64(time.Second))).look(t, 16)
		start := time.Now()
		pause := start.Add(1500 * time.Millisecond) // for a minute, after two packets
		s := w.start(t, Config{Speed: 1, Now: true, Room: func(n int) int {
			if time.Now().After(pause) && time.Now().Before(pause.Add(time.Minute)) {
				return 0
			}
			return n
		}})
		<-s.Done()
		var got []time.Duration
		for _, p := range w.read() {
			got = append(got, time.Duration(p.time-start.UnixNano()).Round(10*time.Millisecond))
		}
		// Packet 2 was due after 2 s, when it was held for 59.5 s more.
		if want := []time.Duration{0, time.Second, 61500 * time.Millisecond, 62500 * time.Millisecond}; !slices.Equal(got, want) {
			t.Errorf("came after %v, want %v", got, want)
		}
	})
}
