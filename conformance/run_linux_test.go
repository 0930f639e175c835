package conformance

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
)

// lab is a place where scripts run, one at a time. The kernel's devices stay
// from script to script; everything else is made anew.
type lab struct {
	ns     *kring.Namespace
	kernel *kernelSide
	where
	rx   rxSide // from the script before; nil: there is none, or it cannot be had again
	late int    // scripts with timers that needed tooSlow times their time
}

// where is how rxring's sockets are come by.
type where struct {
	name     string
	ours     func() (rxSide, error)
	unserved func(op, *party) bool
	labs     int // how many inLabs has at a time

	// errorAlone says that poll reports no packets while an error is pending.
	errorAlone bool
}

// rxSide is rxring's side, until end.
type rxSide interface {
	side
	// reset has the devices as every script finds them; false: it cannot, or a new side
	// costs less.
	reset() bool
	end() error
}

// manyLabs are many more than processors: the kernel waits for a grace period of RCU
// whenever a ring or a socket goes.
const manyLabs = 64

var (
	here       = where{"here", func() (rxSide, error) { return newRxringSide() }, unserved, manyLabs, false}
	attached   = where{"attached", newAttachedSide, unattached, manyLabs, false}
	interposed = where{"interposed", newInterposedSide, uninterposed, 8, true} // each runs a program, which computes
)

func newLab(w where) (*lab, error) {
	ns, err := kring.New()
	if err != nil {
		return nil, err
	}
	k, err := newKernelSide(ns)
	if err != nil {
		ns.Close()
		return nil, err
	}
	return &lab{ns: ns, kernel: k, where: w}, nil
}

func (l *lab) close() error {
	err := l.endRx()
	l.kernel.close()
	l.ns.Close()
	return err
}

// endRx ends rxring's side, if there is one.
func (l *lab) endRx() (err error) {
	if l.rx != nil {
		err = l.rx.end()
		l.rx = nil
	}
	return err
}

// inLabs calls run with each of the items, side by side, each call with a lab that no
// other has meanwhile. It returns once all calls have returned, with the number of
// scripts with timers that were late. A lab that cannot be made fails the test.
func inLabs[T any](t *testing.T, w where, items iter.Seq[T], run func(*lab, T)) (late int) {
	t.Helper()
	var (
		wg   sync.WaitGroup
		free = make(chan *lab, w.labs)
		made int
	)
	for item := range items {
		var l *lab
		select {
		case l = <-free:
		default:
			if made == w.labs {
				l = <-free
			}
		}
		if l == nil {
			var err error
			if l, err = newLab(w); err != nil {
				t.Error(err)
				break
			}
			made++
		}
		wg.Go(func() {
			defer func() { free <- l }()
			run(l, item)
		})
	}
	wg.Wait()
	for range made {
		l := <-free
		late += l.late
		wg.Go(func() {
			if err := l.close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return late
}

// difference is where a script was not the same on both sides.
type difference struct {
	script         script // up to the step that differs
	what           string
	kernel, rxring string
}

func (d *difference) Error() string {
	s := fmt.Sprintf("%v\n\nafter its last step there differs %s", d.script, d.what)
	if d.kernel != d.rxring {
		s += fmt.Sprintf("\n    kernel: %s\n    rxring: %s", d.kernel, d.rxring)
	}
	return s
}

// run plays the script on both sides, and returns a *difference when they are
// not the same. A script with timers gets more than one chance, each with twice the
// time of the one before: on a busy machine a timer may fire in the middle of a
// step, on one side. A true difference is there each time.
func (l *lab) run(sc script) (err error) {
	if err = l.play(sc, l.unserved); err == nil || !sc.timed() {
		return err
	}
	for slower := uint32(2); slower <= 256; slower *= 2 {
		if slower == tooSlow {
			l.late++
		}
		if err = l.play(sc.slower(slower), l.unserved); err == nil {
			return nil
		}
	}
	return err
}

// tooSlow is how many times its time a script with timers needs seldom, however busy
// the machine is.
const tooSlow = 32

// timed says whether a script waits for timers of blocks.
func (sc script) timed() bool {
	return slices.ContainsFunc(sc, func(o op) bool {
		_, ok := o.(expire)
		return ok
	})
}

// slower is the script with so many times its time-outs and waits.
func (sc script) slower(times uint32) script {
	sc = slices.Clone(sc)
	for i, o := range sc {
		switch o := o.(type) {
		case expire:
			o.ms *= int(times)
			sc[i] = o
		case set:
			if r, ok := o.val.(req3); ok && r.tov < never {
				r.tov *= times
				o.val = r
				sc[i] = o
			}
		}
	}
	return sc
}

// play is run once, without the steps that skip says to leave out.
func (l *lab) play(sc script, skip func(op, *party) bool) (err error) {
	if l.rx == nil {
		if l.rx, err = l.ours(); err != nil {
			return err
		}
	}
	kernel, ours := &party{side: l.kernel}, &party{side: l.rx}
	defer func() {
		for _, p := range []*party{kernel, ours} {
			if e := p.closeAll(); e != nil && err == nil {
				err = fmt.Errorf("close: %w", e)
			}
		}
		if err != nil || !l.rx.reset() {
			if e := l.endRx(); e != nil && err == nil {
				err = fmt.Errorf("end: %w", e)
			}
		}
		if e := l.kernel.reset(); e != nil && err == nil {
			err = fmt.Errorf("devices: %w", e)
		}
	}()
	for i, o := range sc {
		if skip(o, kernel) {
			continue
		}
		a, b := o.do(kernel), o.do(ours)
		if !a.equal(b) {
			return &difference{sc[:i+1], "what it returns", a.String(), b.String()}
		}
		seen.step(o, a)
		for s := range maxSockets {
			if what, a, b := l.compareSockets(kernel.sockets[s], ours.sockets[s]); what != "" {
				return &difference{sc[:i+1], fmt.Sprintf("socket %d: %s", s, what), a, b}
			}
		}
	}
	return nil
}

// compareSockets says what of two sockets a program would see to differ.
func (w *where) compareSockets(kernel, ours *socketState) (what, a, b string) {
	if kernel == nil {
		return "", "", ""
	}
	k, o := kernel.state(), ours.state()
	if w.errorAlone && k.Ready&unix.POLLERR != 0 {
		k.Ready &^= unix.POLLIN
	}
	if k.Ready != o.Ready || k.PollErrno != o.PollErrno {
		return "poll", fmt.Sprintf("%#x %v", k.Ready, k.PollErrno), fmt.Sprintf("%#x %v", o.Ready, o.PollErrno)
	}
	if k.Inq != o.Inq || k.InqErrno != o.InqErrno {
		return "SIOCINQ", fmt.Sprint(k.Inq, k.InqErrno), fmt.Sprint(o.Inq, o.InqErrno)
	}
	if !bytes.Equal(k.Name, o.Name) || k.NameErrno != o.NameErrno {
		return "getsockname", fmt.Sprintf("% x %v", k.Name, k.NameErrno), fmt.Sprintf("% x %v", o.Name, o.NameErrno)
	}
	if (kernel.ring == nil) != (ours.ring == nil) {
		return "the ring", fmt.Sprint(kernel.ring != nil), fmt.Sprint(ours.ring != nil)
	}
	if kernel.ring != nil {
		seen.rings.Add(1)
		if d := differ(kernel.ring, ours.ring); d != "" {
			return "its ring, " + d, "", ""
		}
	}
	return "", "", ""
}

// errno is what seen counts by.
func (o outcome) errno() unix.Errno { return errnoOf(o.err) }
