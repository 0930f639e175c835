//go:build linux && (amd64 || arm64)

package interpose

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// forwarded are the signals that somebody sends to us and means for the
// program. Those that stop and continue are left alone: from a terminal they
// reach all of us.
var forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
}

// ignoredSignals lists those of them that this process was started to ignore,
// as under nohup or in a shell script's background. The program starts with
// them ignored as well, but may choose to hear them, and many do: so they are
// forwarded all the same.
func ignoredSignals() []syscall.Signal {
	var ignored []syscall.Signal
	for _, sig := range forwarded {
		if signal.Ignored(sig) {
			ignored = append(ignored, sig.(syscall.Signal))
		}
	}
	return ignored
}

// groupPatience is how long the launcher waits to learn that a signal that we
// got went to the whole process group.
const groupPatience = 50 * time.Millisecond

// obey does what it is told, until we are gone: then it kills the program and
// all that it started.
//
// The launcher gets a signal itself exactly when it was sent to the process
// group, as Ctrl-C is. Then the program got it as well, and must not get it
// twice.
func (l *launcher) obey(start chan<- struct{}) {
	orders := make(chan order)
	go func() {
		defer close(orders)
		for {
			var o order
			if l.dec.Decode(&o) != nil {
				return
			}
			orders <- o
		}
	}()
	started := false
	got := map[syscall.Signal]time.Time{} // unmatched ones of our own
	due := map[syscall.Signal]int{}       // to pass on when they do not show up here
	expired := make(chan syscall.Signal)
	for {
		select {
		case sig := <-l.own:
			if sig := sig.(syscall.Signal); due[sig] > 0 {
				due[sig]--
			} else {
				got[sig] = time.Now()
			}
		case sig := <-expired:
			if due[sig] > 0 {
				due[sig]--
				l.signal(sig)
			}
		case o, ok := <-orders:
			switch {
			case !ok, o.Op == opKill:
				if !started {
					os.Exit(0)
				}
				l.killAll()
			case o.Op == opGo:
				started = true
				close(start)
				<-l.launched // signals that come after are the program's
			case o.Op == opSignal, l.elsewhere():
				l.signal(o.Signal)
			case time.Since(got[o.Signal]) < time.Second:
				delete(got, o.Signal)
			default:
				due[o.Signal]++
				time.AfterFunc(groupPatience, func() { expired <- o.Signal })
			}
		}
	}
}

// elsewhere says whether the program left our process group.
func (l *launcher) elsewhere() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.main == 0 {
		return false
	}
	group, err := syscall.Getpgid(l.main)
	return err == nil && group != syscall.Getpgrp()
}

// signal reaches the program or, when it is gone, what it left.
func (l *launcher) signal(sig syscall.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.main != 0 {
		syscall.Kill(l.main, sig)
		return
	}
	for _, pid := range children(os.Getpid()) {
		syscall.Kill(pid, sig)
	}
}

// killAll kills generation after generation: the children of what it kills
// become the launcher's own. It ends with the process, when reap has the last.
func (l *launcher) killAll() {
	for {
		l.mu.Lock()
		for _, pid := range children(os.Getpid()) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		l.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}
