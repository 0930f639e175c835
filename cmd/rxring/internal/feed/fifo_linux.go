package feed

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// fifo reads a FIFO. Until a writer has opened it, Read waits; Close ends that.
type fifo struct {
	f      *os.File
	conn   syscall.RawConn
	opened bool // by a writer, at some time
}

// openFIFO does not wait for a writer.
func openFIFO(path string) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &fifo{f: f, conn: conn}, nil
}

// Read implements io.Reader. read(2) returns 0 both before a writer has opened the FIFO and
// after all have closed it, and EAGAIN while there is one (pipe(7)).
func (p *fifo) Read(b []byte) (n int, err error) {
	err2 := p.conn.Read(func(fd uintptr) (ready bool) {
		for {
			n, err = unix.Read(int(fd), b)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				p.opened = true
				return false
			case n == 0 && err == nil && len(b) > 0 && !p.opened:
				return false
			}
			return true
		}
	})
	switch {
	case err2 != nil: // closed
		return 0, err2
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	p.opened = true
	return n, nil
}

// Close implements io.Closer.
func (p *fifo) Close() error { return p.f.Close() }
