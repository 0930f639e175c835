package iface

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNetns is the calling thread's network namespace.
const threadNetns = "/proc/thread-self/ns/net"

// netns is a network namespace. A socket belongs to the namespace that it was opened in, and
// readers that open the tap run on any thread.
type netns struct {
	file *os.File
	id   os.FileInfo
}

// currentNetns returns the calling thread's namespace.
func currentNetns() (*netns, error) {
	f, err := os.Open(threadNetns)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	id, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return &netns{f, id}, nil
}

func (n *netns) close() { n.file.Close() }

// do runs f on a thread in the namespace. Entering it from another one needs
// CAP_SYS_ADMIN.
func (n *netns) do(f func() error) error {
	result := make(chan error)
	go func() { result <- n.enter(f) }()
	return <-result
}

func (n *netns) enter(f func() error) error {
	runtime.LockOSThread()
	back, err := currentNetns()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.close()
	if os.SameFile(back.id, n.id) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace that Start was called in: %w", err)
	}
	defer func() {
		if unix.Setns(int(back.file.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // otherwise the thread ends with its goroutine
		}
	}()
	return f()
}
