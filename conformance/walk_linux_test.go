package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
)

// TestOptionsInterposed walks the table of options with a program under rxring run
// and one on the kernel's sockets: each option is set and read with values that are
// right, short, long and absent, without a ring and with one.
func TestOptionsInterposed(t *testing.T) {
	need.Serial(t)
	need.Time(t, "it interposes on every option")
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		inLabs(t, interposed, slices.Values(options), func(l *lab, o option) { l.walk(t, o) })
	})
}

// walk goes on after a difference: each is shown by a script of its own.
func (l *lab) walk(t *testing.T, o option) {
	sc := append(script{open(0)}, o.walk()...)
	sc = append(sc, open(0), rxRing(0, onePage), mmap{0})
	err := l.run(append(sc, o.walk()...))
	if d := (*difference)(nil); errors.As(err, &d) {
		err = l.smallest(d)
	}
	if err != nil {
		t.Errorf("%s: %v", o.name, err)
	}
}

// walk sets and reads the option in all ways.
func (o option) walk() (sc script) {
	read := func(n int) {
		sc = append(sc, get{0, o.level, o.number, room(n)})
	}
	write := func(v value) {
		sc = append(sc, set{0, o.level, o.number, v})
		read(16)
	}
	for _, n := range []int{4, 0, 1, 3, 5, 8, 12, 15, 16, 24, 64, 5000} {
		read(n)
	}
	for seed := range 8 {
		if o.set != nil {
			write(o.set.Example(seed))
		}
		if o.args != nil {
			sc = append(sc, get{0, o.level, o.number, o.args.Example(seed)})
		}
	}
	for _, v := range []value{i32(0), i32(tapIndex), i32(-1)} {
		write(v)
		for n := range len(v.bytes()) {
			write(raw(v.bytes()[:n]))
		}
		write(raw(append(v.bytes(), make([]byte, 60)...)))
		write(raw(append(v.bytes(), make([]byte, 5000)...)))
	}
	return append(sc, faults{0, o.level, o.number})
}

// faults sets and reads an option with pointers that lead nowhere, and with
// lengths below zero. Only programs can.
type faults struct{ s, level, name int }

func (o faults) String() string {
	return fmt.Sprintf("faults{%d, %s}", o.s, optionName(o.level, o.name))
}

func (o faults) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		errnos, err := s.socketSide.(interface {
			faults(level, name int) ([]byte, error)
		}).faults(o.level, o.name)
		return outcome{0, err, errnos}
	})
}

func (s *kernelSocket) faults(level, name int) (errnos []byte, _ error) {
	const nowhere = 8
	var b [4096]byte
	call := func(nr uintptr, val, n uintptr) {
		_, _, errno := unix.RawSyscall6(nr, uintptr(s.FD), uintptr(level), uintptr(name), val, n, 0)
		errnos = append(errnos, byte(errno))
	}
	for _, n := range []int32{0, 3, 4, 16, 28, 64, -1} {
		room := n
		call(unix.SYS_SETSOCKOPT, nowhere, uintptr(n))
		call(unix.SYS_GETSOCKOPT, nowhere, uintptr(unsafe.Pointer(&room)))
		errnos = binary.NativeEndian.AppendUint32(errnos, uint32(room))
	}
	call(unix.SYS_GETSOCKOPT, uintptr(unsafe.Pointer(&b)), nowhere)
	minus := int32(-1)
	call(unix.SYS_SETSOCKOPT, uintptr(unsafe.Pointer(&b)), uintptr(minus))
	call(unix.SYS_GETSOCKOPT, uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&minus)))
	return errnos, nil
}

func (s *interposedSocket) faults(level, name int) ([]byte, error) {
	a, err := s.do(request{Call: "faults", Level: level, Name: name})
	return a.Bytes, err
}
