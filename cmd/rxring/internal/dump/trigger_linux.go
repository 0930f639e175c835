package dump

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/sockfile"
)

// A flight recorder listens at a unix socket that has its PID as its name, in a directory of
// its user. Who connects triggers it, and reads a line: "ok " and what was written, or "error "
// and why not. Root may trigger those of root only, as with any other socket of mode 0600 that
// it can find.

// RecorderDir returns the directory of the sockets of this user's flight recorders.
func RecorderDir() (string, error) { return sockfile.UserDir("rxring-recorders") }

// ListenTrigger listens in dir for triggers of this process, until stop is called, and sends
// them to requests.
func ListenTrigger(dir string, requests chan<- Request) (stop func(), err error) {
	if err := sockfile.MakePrivate(dir); err != nil {
		return nil, err
	}
	l, file, err := sockfile.Listen("unix", filepath.Join(dir, strconv.Itoa(os.Getpid())), nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				answer(ctx, c, requests)
			})
		}
	})
	return func() {
		cancel()
		l.Close()
		wg.Wait()
		file.Close()
	}, nil
}

// answer sends a request, and writes the answer to a peer.
func answer(ctx context.Context, peer io.Writer, requests chan<- Request) {
	done := make(chan string, 1)
	q := Request{Done: func(r Recording, err error) {
		if err != nil {
			done <- "error " + err.Error()
			return
		}
		done <- "ok " + r.String()
	}}
	select {
	case requests <- q:
	case <-ctx.Done():
		return
	}
	select {
	case text := <-done:
		fmt.Fprintln(peer, strings.ReplaceAll(text, "\n", " "))
	case <-ctx.Done():
		fmt.Fprintln(peer, "error the capture has ended")
	}
}

// Recorders lists the PIDs of the flight recorders that listen in dir. EPERM: another user could
// have put sockets into it.
func Recorders(dir string) (pids []int, err error) {
	if err := sockfile.CheckPrivate(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// Trigger triggers the flight recorder of a process, and returns what it has written.
func Trigger(ctx context.Context, dir string, pid int) (string, error) {
	if err := sockfile.CheckPrivate(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	c, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "unix", filepath.Join(dir, strconv.Itoa(pid)))
	if err != nil {
		return "", fmt.Errorf("process %d: no flight recorder of this user listens there: %w", pid, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })()
	line, err := bufio.NewReader(io.LimitReader(c, 1<<16)).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("process %d: it has ended, or did not answer: %w", pid, err)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "ok ")
	if !ok {
		return "", fmt.Errorf("process %d: %s", pid, strings.TrimPrefix(text, "error "))
	}
	return text, nil
}
