package dump

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// quiet returns a device without packets, and what closes when the capture of it has begun.
func quiet(t *testing.T) (*Input, chan struct{}) {
	t.Helper()
	in := openNet0(t)
	began := make(chan struct{})
	in.Start = func() (<-chan struct{}, error) {
		close(began)
		return nil, nil
	}
	return in, began
}

// A capture ends when the program that reads it has ended, although no packet arrives.
func TestTheReaderOfAPipeEnds(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]error{"-": syscall.EPIPE, fifo: syscall.EPIPE, "": nil} {
		in, began := quiet(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			_, err := Run(t.Context(), in, Config{File: file, Quiet: true}, w, os.Stderr)
			w.Close()
			result <- err
		}()
		if file == fifo {
			r.Close()
			if r, err = os.Open(fifo); err != nil {
				t.Fatal(err)
			}
		}
		if file != "" { // the header, in which nothing is flushed yet
			go io.Copy(io.Discard, r)
		}
		<-began
		r.Close()
		if err := <-result; !errors.Is(err, want) {
			t.Errorf("-w %q: %v, want %v", file, err, want)
		} else if err != nil && !strings.HasSuffix(err.Error(), ": the program that reads it has ended: broken pipe") {
			t.Error(err)
		}
	}
}

// The wait for the reader of a FIFO ends with the context.
func TestAFIFOWithoutAReader(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	in, _ := quiet(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Run(ctx, in, Config{File: fifo, Quiet: true}, nil, os.Stderr)
	if want := "-w open " + fifo + ": no such device or address: no program reads it"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A capture to a FIFO is whole, and ends by itself.
func TestAFIFOIsWritten(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, _ := start(t, Config{File: fifo, Quiet: true, Count: 3}, false)
	for range 3 {
		s.dev.Deliver(&rxring.Packet{Data: make([]byte, 60)})
	}
	if packets, _ := received(t, r); packets != 3 {
		t.Errorf("%d packets", packets)
	}
	if _, err := s.wait(); err != nil {
		t.Error(err)
	}
}
