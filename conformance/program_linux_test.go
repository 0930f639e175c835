package conformance

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// The program is this test binary, executed again: it makes the system calls that
// it reads from its standard input, and writes what they returned to its standard
// output. Under rxring run its packet sockets are rxring's, and it does not know.

const programEnv = "RXRING_CONFORMANCE_PROGRAM"

// request is a system call on socket S. Which fields are used depends on the call.
type request struct {
	Call        string
	S           int
	Level, Name int // or type and protocol
	Room        int
	Flags       int
	Control     int
	Bytes, Addr []byte
	Absent      bool // Addr is nil, or a pointer leads nowhere
	Prog        []cbpf.Instruction
}

// answer is what the call returned.
type answer struct {
	N             int
	Errno         unix.Errno
	Bytes         []byte
	Flags         int
	Name, Control []byte
	Prog          []cbpf.Instruction
	Map           mapped
	State         state
}

// mapped is where the program has mapped its rings.
type mapped struct {
	PID     int
	At      uintptr
	Geo, Tx tpacket.Geometry
	HasTx   bool
}

// obey is the program's main.
func obey(in io.Reader, out io.Writer) error {
	sockets := make(map[int]*kernelSocket)
	dec, enc := gob.NewDecoder(in), gob.NewEncoder(out)
	for {
		var r request
		if err := dec.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		a, err := r.do(sockets)
		if a.Errno = errnoOf(err); a.Errno == noErrno {
			return fmt.Errorf("%s: %w", r.Call, err)
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
}

func (r *request) do(sockets map[int]*kernelSocket) (a answer, err error) {
	s := sockets[r.S]
	switch r.Call {
	case "socket":
		s, err := openKernelSocket(r.Level, r.Name)
		if err == nil {
			sockets[s.FD] = s
			a.N = s.FD
		}
		return a, err
	case "close":
		delete(sockets, r.S)
		return a, errors.Join(s.close(), noticeClosed())
	case "bind":
		err = s.bind(r.Bytes)
	case "setsockopt":
		err = s.setsockopt(r.Level, r.Name, r.Bytes)
	case "getsockopt":
		a.Bytes = r.Bytes
		a.N, err = s.getsockopt(r.Level, r.Name, a.Bytes)
	case "attach":
		err = s.attach(r.Prog)
	case "getFilter":
		a.Prog, a.N, err = s.getFilter(r.Room)
	case "fanoutProgram":
		err = s.fanoutProgram(r.Prog)
	case "mmap":
		var m *mapping
		if m, err = s.mmap(); err == nil {
			a.Map = mapped{PID: os.Getpid(), At: uintptr(unsafe.Pointer(&s.mem[0])), Geo: m.geo}
			if m.tx != nil {
				a.Map.Tx, a.Map.HasTx = m.tx.geo, true
			}
		}
	case "munmap":
		err = s.munmap()
	case "state":
		a.State = s.state()
	case "recv":
		var m message
		m, err = s.recv(r.Room, r.Flags, r.Control)
		a.N, a.Flags, a.Bytes, a.Name, a.Control = m.n, m.flags, m.data, m.name, m.control
	case "read":
		a.Bytes, err = s.read(r.Room)
	case "faults":
		a.Bytes, err = s.faults(r.Level, r.Name)
	case "sendto":
		var addr []byte
		if !r.Absent {
			addr = append([]byte{}, r.Addr...)
		}
		a.N, err = s.sendto(r.Bytes, addr)
	default:
		panic(r.Call)
	}
	return a, err
}

// noticeClosed has rxring notice that a socket was closed, which it does when it
// looks the second time: when a socket is opened, or a second has passed. The
// kernel knows at once.
func noticeClosed() error {
	for range 2 {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	return nil
}
