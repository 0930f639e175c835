//go:build linux && (amd64 || arm64)

package launcher

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/proc"
)

// Forwarded are the signals that are passed on to the program when the process that calls Run
// gets them. Those that stop and continue are not: from a terminal they go to every process of
// the group.
var Forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
}

// ignoredSignals lists those of them that are ignored when this process starts, as SIGHUP is
// under nohup and SIGINT in the background of a shell script. They are ignored when the program
// starts, too, but many programs handle them nevertheless: so they are forwarded all the same.
func ignoredSignals() []syscall.Signal {
	var ignored []syscall.Signal
	for _, sig := range Forwarded {
		if signal.Ignored(sig) {
			ignored = append(ignored, sig.(syscall.Signal))
		}
	}
	return ignored
}

// groupPatience is how long the launcher waits to see whether a signal to the parent
// went to the whole process group.
const groupPatience = 50 * time.Millisecond

// obey carries out orders until the parent has closed the connection or has died. Then
// it kills the program and all that it started.
//
// The launcher itself gets a signal exactly when it was sent to the process group, as
// Ctrl-C is. Then the program has got it as well, and must not get it twice.
func (l *launcher) obey(start chan<- struct{}) {
	orders := make(chan Order)
	go func() {
		defer close(orders)
		for {
			var o Order
			if Receive(l.conn, &o) != nil {
				return
			}
			orders <- o
		}
	}()
	started := false
	got := map[syscall.Signal]time.Time{} // the launcher's own that match no order yet
	due := map[syscall.Signal]int{}       // to pass on unless the launcher gets them, too
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
			sig := syscall.Signal(o.Signal)
			switch {
			case !ok, o.Op == Kill:
				if !started {
					os.Exit(0)
				}
				l.killAll()
			case o.Op == Go:
				started = true
				close(start)
				<-l.launched // signals after this are the program's
			case o.Op == Signal, l.leftGroup():
				l.signal(sig)
			case time.Since(got[sig]) < time.Second:
				delete(got, sig)
			default:
				due[sig]++
				time.AfterFunc(groupPatience, func() { expired <- sig })
			}
		}
	}
}

// leftGroup reports whether the program has left our process group.
func (l *launcher) leftGroup() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.main == 0 {
		return false
	}
	group, err := syscall.Getpgid(l.main)
	return err == nil && group != syscall.Getpgrp()
}

// signal sends a signal to the program or, if it has ended, to the processes that it left.
func (l *launcher) signal(sig syscall.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.main != 0 {
		syscall.Kill(l.main, sig)
		return
	}
	for _, pid := range proc.Children(os.Getpid()) {
		syscall.Kill(pid, sig)
	}
}

// killAll kills generation after generation: the launcher adopts the children of each
// process that it kills. It runs until the launcher ends, when reap has reaped the last.
func (l *launcher) killAll() {
	for {
		l.mu.Lock()
		for _, pid := range proc.Children(os.Getpid()) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		l.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}
