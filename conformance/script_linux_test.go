package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// script is what a program and the wire do, in order.
type script []op

// String is the script as Go.
func (sc script) String() string {
	var b strings.Builder
	b.WriteString("script{\n")
	for _, o := range sc {
		fmt.Fprintf(&b, "\t%v,\n", o)
	}
	b.WriteString("}")
	return b.String()
}

// op is one step of a script. Sockets are numbered from 0 to maxSockets-1; a
// number that has no open socket gives EBADF.
type op interface {
	do(*party) outcome
	String() string // as Go
}

const maxSockets = 3

// outcome is what a step gives back, in a form that can be compared.
type outcome struct {
	ret  int
	err  error
	data []byte // what the call filled in
}

func (o outcome) equal(p outcome) bool {
	return o.ret == p.ret && errnoOf(o.err) == errnoOf(p.err) && bytes.Equal(o.data, p.data)
}

func (o outcome) String() string {
	s := fmt.Sprint(o.ret)
	if o.err != nil {
		s = errnoName(errnoOf(o.err))
		if _, bare := o.err.(unix.Errno); !bare {
			s += fmt.Sprintf(" (%v)", o.err)
		}
	}
	if len(o.data) > 160 {
		s += fmt.Sprintf(" % x ... %d bytes", o.data[:160], len(o.data))
	} else if o.data != nil {
		s += fmt.Sprintf(" % x", o.data)
	}
	return s
}

// side is one implementation of packet sockets: the kernel, or rxring. Its
// methods are system calls and what the wire does; errors are errnos or wrap
// them.
type side interface {
	socket(typ, proto int) (socketSide, error)
	arrive(dev string, p packet, times int, how delivery) error
	leave(dev string, p packet, times int, how delivery) error
	// device sets a device up or down, removes it, or adds it again.
	device(name string, what change) error
	wire() []byte // what was sent through the devices since the last call, frame by frame
}

// change is what becomes of a device.
type change int

const (
	goesDown change = iota
	comesUp
	goesAway
	comesBack // with the next index that was never used
)

func (c change) String() string {
	return []string{"goesDown", "comesUp", "goesAway", "comesBack"}[c]
}

// socketSide is one socket of a side.
type socketSide interface {
	close() error
	bind(addr []byte) error
	setsockopt(level, name int, val []byte) error
	getsockopt(level, name int, buf []byte) (int, error)
	attach([]cbpf.Instruction) error
	// getFilter is SO_GET_FILTER with room for so many instructions.
	getFilter(room int) ([]cbpf.Instruction, int, error)
	fanoutProgram([]cbpf.Instruction) error
	// mmap maps the rings and says what shape they have.
	mmap() (*mapping, error)
	munmap() error
	state() state
	recv(room, flags, control int) (message, error)
	// read is read(2), which SO_RCVTIMEO ends.
	read(room int) ([]byte, error)
	sendto(frame, addr []byte) (int, error)
}

// state is what poll, SIOCINQ (the length of the first packet in the queue) and getsockname
// say, in this order.
type state struct {
	Ready, Inq                     int
	Name                           []byte
	PollErrno, InqErrno, NameErrno unix.Errno
}

func stateOf(s interface {
	poll() (int, error)
	inq() (int, error)
	getsockname() ([]byte, error)
}) (now state) {
	var err [3]error
	now.Ready, err[0] = s.poll()
	now.Inq, err[1] = s.inq()
	now.Name, err[2] = s.getsockname()
	now.PollErrno, now.InqErrno, now.NameErrno = errnoOf(err[0]), errnoOf(err[1]), errnoOf(err[2])
	return now
}

// message is what recvmsg fills in.
type message struct {
	n             int // what it returns
	flags         int
	data          []byte
	name, control []byte
}

// party is a side in a running script, and the program's part: its sockets and
// the rings that it has mapped.
type party struct {
	side
	sockets [maxSockets]*socketState
}

type socketState struct {
	socketSide
	ring *mapping // nil: none mapped
	next uint32   // the frame that the program reads next

	peeked bool // at the first packet in the queue
}

func (p *party) on(s int, f func(*socketState) outcome) outcome {
	if p.sockets[s] == nil {
		return outcome{err: unix.EBADF}
	}
	return f(p.sockets[s])
}

func (p *party) closeAll() error {
	for s := range p.sockets {
		if o := (closeSocket{s}).do(p); o.err != nil && o.err != unix.EBADF {
			return o.err
		}
	}
	return nil
}

// The steps. Fields are in the order of the call's arguments.
type (
	// socket opens a packet socket in place s. An open one there is closed
	// first.
	socket struct {
		s, typ int
		proto  int // host byte order
	}
	// closeSocket unmaps the ring and closes the socket.
	closeSocket struct{ s int }
	bind        struct {
		s    int
		addr value
	}
	set struct {
		s, level, name int
		val            value
	}
	// get offers room, and shows what was in it before to those options that
	// read it.
	get struct {
		s, level, name int
		room           value
	}
	attach struct {
		s    int
		prog program
	}
	getFilter struct{ s, room int }
	// fanoutProgram is PACKET_FANOUT_DATA with a program.
	fanoutProgram struct {
		s    int
		prog program
	}
	// mmap maps all rings that there are.
	mmap   struct{ s int }
	munmap struct{ s int }
	// recv is recvmsg with so many bytes of room for data and for control
	// messages.
	recv struct{ s, room, flags, control int }
	// read is read(2) of so many bytes, with SO_RCVTIMEO or SO_RCVTIMEO_NEW set to
	// so many milliseconds before.
	read struct{ s, room, option, ms int }
	// handBack reads up to n frames in order and hands each back.
	handBack struct{ s, n int }
	// store is a reader that stores a status word where it likes.
	store struct {
		s             int
		frame, status uint32
	}
	// arrive has the packet come in from the wire, times times; leave has
	// another program send it.
	arrive struct {
		dev    string
		packet packet
		times  int
		how    delivery
	}
	leave  arrive
	device struct {
		name string
		what change
	}
	// expire waits so many milliseconds: until the timers of V3 rings have
	// fired.
	expire struct{ ms int }
)

func (o socket) do(p *party) outcome {
	closeSocket{o.s}.do(p)
	s, err := p.side.socket(o.typ, o.proto)
	if err != nil {
		return outcome{err: err}
	}
	p.sockets[o.s] = &socketState{socketSide: s}
	return outcome{}
}

func (o closeSocket) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		munmap(o).do(p)
		p.sockets[o.s] = nil
		return outcome{err: s.close()}
	})
}

func (o bind) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome { return outcome{err: s.bind(o.addr.bytes())} })
}

func (o set) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		return outcome{err: s.setsockopt(o.level, o.name, o.val.bytes())}
	})
}

func (o get) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		buf := o.room.bytes()
		n, err := s.getsockopt(o.level, o.name, buf)
		return outcome{n, err, buf}
	})
}

func (o attach) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome { return outcome{err: s.attach(o.prog)} })
}

func (o getFilter) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		prog, n, err := s.getFilter(o.room)
		return outcome{n, err, []byte(program(prog).String())}
	})
}

func (o fanoutProgram) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome { return outcome{err: s.fanoutProgram(o.prog)} })
}

func (o expire) do(*party) outcome {
	time.Sleep(time.Duration(o.ms) * time.Millisecond)
	return outcome{}
}

func (o mmap) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		if s.ring != nil {
			return outcome{} // one mapping a socket is enough
		}
		m, err := s.mmap()
		if err != nil {
			return outcome{err: err}
		}
		s.ring, s.next = m, 0
		return outcome{ret: m.size()}
	})
}

func (o munmap) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		if s.ring == nil {
			return outcome{}
		}
		s.ring = nil
		return outcome{err: s.munmap()}
	})
}

func (o recv) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		m, err := s.recv(o.room, o.flags, o.control)
		if err != nil {
			return outcome{err: err}
		}
		scrubControl(m.control, s.peeked)
		s.peeked = o.flags&unix.MSG_PEEK != 0
		return outcome{m.n, nil, slices.Concat([]byte{byte(m.flags)}, m.name, m.control, m.data)}
	})
}

var stampOptions = []int{unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_TIMESTAMP_NEW, unix.SO_TIMESTAMPNS_NEW}

// scrubControl leaves of the times in control messages only whether there is
// one, and nothing of the length of a packet that was peeked at before: see
// differences.
func scrubControl(b []byte, peeked bool) {
	for len(b) >= unix.SizeofCmsghdr {
		size := binary.NativeEndian.Uint64(b)
		level, typ := binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])
		if size < unix.SizeofCmsghdr || size > uint64(len(b)) {
			return
		}
		if level == unix.SOL_SOCKET && slices.Contains(stampOptions, int(typ)) {
			presence(b[unix.SizeofCmsghdr:size])
		}
		const lenAt = unix.SizeofCmsghdr + unsafe.Offsetof(tpacket.Auxdata{}.Len)
		if peeked && level == unix.SOL_PACKET && typ == unix.PACKET_AUXDATA && size > uint64(lenAt) {
			clear(b[lenAt:min(lenAt+4, uintptr(size))])
		}
		b = b[min((size+7)&^7, uint64(len(b))):]
	}
}

func (o read) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		if err := s.setsockopt(unix.SOL_SOCKET, o.option, timeval{0, int64(o.ms) * 1000}.bytes()); err != nil {
			return outcome{err: err}
		}
		b, err := s.read(o.room)
		s.peeked = s.peeked && (err != nil || o.room == 0) // read of 0 bytes takes no packet
		return outcome{len(b), err, b}
	})
}

func (o handBack) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		n := 0
		for s.ring != nil && s.ring.units() > 0 && n < o.n && s.ring.handBack(s.next) {
			s.next = (s.next + 1) % s.ring.units()
			n++
		}
		return outcome{ret: n}
	})
}

func (o store) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		if s.ring != nil && s.ring.units() > 0 {
			s.ring.setStatus(o.frame%s.ring.units(), o.status)
		}
		return outcome{}
	})
}

func (o device) do(p *party) outcome { return outcome{err: p.side.device(o.name, o.what)} }

func (o arrive) do(p *party) outcome {
	return outcome{err: p.side.arrive(o.dev, o.packet, o.times, o.how)}
}

func (o leave) do(p *party) outcome {
	return outcome{err: p.side.leave(o.dev, o.packet, o.times, o.how)}
}
