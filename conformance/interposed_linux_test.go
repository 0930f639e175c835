package conformance

import (
	"context"
	"encoding/gob"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/racetest"
	"github.com/rxring/rxring/interpose"
)

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		if err := obey(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	racetest.NoExitSleep()
	os.Exit(m.Run())
}

// interposedSide is rxring as a program under rxring run has it.
type interposedSide struct {
	*rxringSide
	program *process
}

// newInterposedSide starts a program whose packet sockets are rxring's.
func newInterposedSide() (rxSide, error) {
	r, err := newRxringSide()
	if err != nil {
		return nil, err
	}
	p, err := startProgram(func(in, out *os.File) error {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		res, err := interpose.Run(context.Background(), interpose.Config{
			Namespace: r.ns,
			Args:      []string{exe},
			Env:       append(os.Environ(), programEnv+"=1", "GODEBUG=asyncpreemptoff=1"),
			Stdin:     in,
			Stdout:    out,
		})
		if err == nil && (res.ExitCode != 0 || res.Signal != 0) {
			err = fmt.Errorf("the program ended with %d, signal %v", res.ExitCode, res.Signal)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &interposedSide{r, p}, nil
}

// reset brings devices up. One that was removed does not come back with the index that it had.
func (i *interposedSide) reset() bool {
	for name, index := range map[string]int{tap0: tapIndex, tun0: tunIndex} {
		d, there := i.ns.DeviceByName(name)
		if !there || d.Index() != index {
			return false
		}
		d.SetUp(true)
	}
	i.wire()
	return true
}

func (i *interposedSide) end() error { return i.program.end() }

func (i *interposedSide) socket(typ, proto int) (socketSide, error) {
	a, err := i.program.do(request{Call: "socket", Level: typ, Name: proto})
	return &interposedSocket{program: i.program, s: a.N}, err
}

// process is a running program, see obey.
type process struct {
	enc     *gob.Encoder
	dec     *gob.Decoder
	in, out *os.File
	ended   chan error
}

// startProgram calls run with what are to be the program's standard input and
// output.
func startProgram(run func(in, out *os.File) error) (*process, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		inR.Close()
		inW.Close()
		return nil, err
	}
	p := &process{gob.NewEncoder(inW), gob.NewDecoder(outR), inW, outR, make(chan error, 1)}
	go func() {
		err := run(inR, outW)
		inR.Close()
		outW.Close()
		p.ended <- err
	}()
	return p, nil
}

// do has the program make a call.
func (p *process) do(r request) (a answer, err error) {
	err = p.enc.Encode(r)
	if err == nil {
		err = p.dec.Decode(&a)
	}
	if err != nil {
		return a, fmt.Errorf("the program under rxring run: %s: %w", r.Call, err)
	}
	return a, bare(a.Errno)
}

func (p *process) end() error {
	p.in.Close()
	err := <-p.ended
	p.out.Close()
	return err
}

// interposedSocket is a socket of the program.
type interposedSocket struct {
	program *process
	s       int
	mem     []byte
}

func (s *interposedSocket) do(r request) (answer, error) {
	r.S = s.s
	return s.program.do(r)
}

func (s *interposedSocket) close() error {
	_, err := s.do(request{Call: "close"})
	return err
}

func (s *interposedSocket) bind(addr []byte) error {
	_, err := s.do(request{Call: "bind", Bytes: addr})
	return err
}

func (s *interposedSocket) setsockopt(level, name int, val []byte) error {
	_, err := s.do(request{Call: "setsockopt", Level: level, Name: name, Bytes: val})
	return err
}

func (s *interposedSocket) getsockopt(level, name int, buf []byte) (int, error) {
	a, err := s.do(request{Call: "getsockopt", Level: level, Name: name, Bytes: buf})
	copy(buf, a.Bytes)
	return a.N, err
}

func (s *interposedSocket) attach(prog []cbpf.Instruction) error {
	_, err := s.do(request{Call: "attach", Prog: prog})
	return err
}

func (s *interposedSocket) getFilter(room int) ([]cbpf.Instruction, int, error) {
	a, err := s.do(request{Call: "getFilter", Room: room})
	return a.Prog, a.N, err
}

func (s *interposedSocket) fanoutProgram(prog []cbpf.Instruction) error {
	_, err := s.do(request{Call: "fanoutProgram", Prog: prog})
	return err
}

func (s *interposedSocket) mmap() (*mapping, error) {
	a, err := s.do(request{Call: "mmap"})
	if err != nil {
		return nil, err
	}
	m := &mapping{geo: a.Map.Geo}
	if a.Map.HasTx {
		m.tx = &mapping{geo: a.Map.Tx, sends: true}
	}
	// The memory that the program has mapped, not what rxring says that it is.
	path := fmt.Sprintf("/proc/%d/map_files/%x-%x", a.Map.PID, a.Map.At, a.Map.At+uintptr(m.size()))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s.mem, err = unix.Mmap(int(f.Fd()), 0, m.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	m.lie(s.mem)
	return m, nil
}

func (s *interposedSocket) munmap() error {
	_, err := s.do(request{Call: "munmap"})
	if err != nil {
		return err
	}
	return unix.Munmap(s.mem)
}

func (s *interposedSocket) state() state {
	a, err := s.do(request{Call: "state"})
	if err != nil {
		a.State.PollErrno = errnoOf(err)
	}
	return a.State
}

func (s *interposedSocket) recv(room, flags, control int) (message, error) {
	a, err := s.do(request{Call: "recv", Room: room, Flags: flags, Control: control})
	return message{a.N, a.Flags, a.Bytes, a.Name, a.Control}, err
}

func (s *interposedSocket) read(room int) ([]byte, error) {
	a, err := s.do(request{Call: "read", Room: room})
	return a.Bytes, err
}

func (s *interposedSocket) sendto(frame, addr []byte) (int, error) {
	a, err := s.do(request{Call: "sendto", Bytes: frame, Addr: addr, Absent: addr == nil})
	return a.N, err
}
