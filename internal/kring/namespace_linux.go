package kring

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a private network namespace, alive as long as its thread or any
// device or socket made in it.
type Namespace struct {
	work chan func()
	done chan struct{}
}

// New makes a namespace. It needs CAP_SYS_ADMIN; the error says what was
// missing. kringtest.Run is for tests that may lack it.
func New() (*Namespace, error) {
	ns := &Namespace{make(chan func()), make(chan struct{})}
	ready := make(chan error)
	go func() {
		// Never unlocked: when the goroutine ends the thread ends with it, so
		// no other goroutine ever runs in this namespace.
		runtime.LockOSThread()
		defer close(ns.done)
		err := enter()
		ready <- err
		if err != nil {
			return
		}
		for fn := range ns.work {
			fn()
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return ns, nil
}

func enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare(CLONE_NEWNET): %w", err)
	}
	for _, scope := range []string{"all", "default"} {
		path := "/proc/sys/net/ipv6/conf/" + scope + "/disable_ipv6"
		err := os.WriteFile(path, []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 is quiet anyway
			return fmt.Errorf("turn IPv6 off: %w", err)
		}
	}
	return nil
}

// Do runs fn on the namespace's thread. fn must not call methods of ns.
func (ns *Namespace) Do(fn func() error) error {
	result := make(chan error)
	ns.work <- func() { result <- fn() }
	return <-result
}

// Close ends the namespace's thread. Open devices and sockets stay usable.
func (ns *Namespace) Close() {
	close(ns.work)
	<-ns.done
}
