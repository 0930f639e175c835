package twin_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// side is where a script of system calls runs: rxring, or the kernel.
type side interface {
	socket(t *testing.T, protocol uint16) sideSocket
	device() int // index of an Ethernet device
}

// sideSocket is a packet socket with its system calls.
type sideSocket interface {
	bind(ifindex int, protocol uint16) error
	set(level, name int, val []byte) error
	get(name, room int) ([]byte, error) // SOL_PACKET
	program([]cbpf.Instruction) error   // PACKET_FANOUT_DATA, as a struct sock_fprog
	close()
}

// fanoutArgs is struct fanout_args.
func fanoutArgs(id, typeFlags uint16, maxMembers uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(id)|uint32(typeFlags)<<16)
	return binary.NativeEndian.AppendUint32(b, maxMembers)
}

// fanoutScript is a script in the middle of its run.
type fanoutScript struct {
	*testing.T
	side
}

// all is a socket for all protocols on all devices.
func (s fanoutScript) all() sideSocket { return s.socket(s.T, tpacket.ETHPAll) }

// join wants setsockopt of PACKET_FANOUT to return want.
func (s fanoutScript) join(k sideSocket, args []byte, want error) {
	s.Helper()
	s.returns(k.set(tpacket.SolPacket, tpacket.OptFanout, args), want)
}

func (s fanoutScript) data(k sideSocket, val []byte, want error) {
	s.Helper()
	s.returns(k.set(tpacket.SolPacket, tpacket.OptFanoutData, val), want)
}

func (s fanoutScript) returns(got, want error) {
	s.Helper()
	if !errors.Is(got, want) {
		s.Errorf("returns %v, want %v", got, want)
	}
}

// group wants PACKET_FANOUT to read back as want.
func (s fanoutScript) group(k sideSocket, want uint32) {
	s.Helper()
	got, err := k.get(tpacket.OptFanout, 4)
	if err != nil || !slices.Equal(got, binary.NativeEndian.AppendUint32(nil, want)) {
		s.Errorf("PACKET_FANOUT is % x, %v; want %#x", got, err, want)
	}
}

func (s fanoutScript) id(k sideSocket) uint16 {
	got, err := k.get(tpacket.OptFanout, 4)
	if err != nil {
		s.Fatal(err)
	}
	return uint16(binary.NativeEndian.Uint32(got))
}

const (
	flagRollover = tpacket.FanoutFlagRollover
	flagUnique   = tpacket.FanoutFlagUniqueID
	flagDefrag   = tpacket.FanoutFlagDefrag

	lb, hash, cbpfMode, ebpfMode, rolloverMode = tpacket.FanoutLB, tpacket.FanoutHash, tpacket.FanoutCBPF, tpacket.FanoutEBPF, tpacket.FanoutRollover
)

// fanoutRules are scripts with what each call returns. They run on rxring here,
// and in TestTheKernelHasTheSameFanoutRules on the kernel.
var fanoutRules = []struct {
	name string
	run  func(s fanoutScript)
}{
	{"a socket without a protocol cannot join", func(s fanoutScript) {
		k := s.socket(s.T, 0)
		s.join(k, fanoutArgs(1, hash, 0), syscall.EINVAL)
		s.returns(k.bind(s.device(), 0), nil)
		s.join(k, fanoutArgs(1, hash, 0), syscall.EINVAL)
		s.returns(k.bind(s.device(), tpacket.ETHPIP), nil)
		s.join(k, fanoutArgs(1, hash, 0), nil)
	}},
	{"the value is an int or a struct fanout_args", func(s fanoutScript) {
		for _, n := range []int{0, 1, 3, 5, 7, 9, 12, 100} {
			s.join(s.all(), make([]byte, n), syscall.EINVAL)
		}
		s.join(s.all(), make([]byte, 4), nil)
		s.join(s.all(), make([]byte, 8), nil)
	}},
	{"modes that there are not", func(s fanoutScript) {
		for mode := range uint16(8) {
			s.join(s.all(), fanoutArgs(mode, mode, 0), nil)
		}
		for _, mode := range []uint16{8, 9, 127, 255} {
			s.join(s.all(), fanoutArgs(1, mode, 0), syscall.EINVAL)
		}
	}},
	{"flags are kept, those that mean nothing, too", func(s fanoutScript) {
		k := s.all()
		s.group(k, 0)
		s.join(k, fanoutArgs(5, 0xdf00|lb, 0), nil)
		s.group(k, 0xdf01_0005)
	}},
	{"rolling over twice", func(s fanoutScript) {
		s.join(s.all(), fanoutArgs(1, rolloverMode|flagRollover, 0), syscall.EINVAL)
	}},
	{"one group a socket", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(1, hash, 0), nil)
		s.join(k, fanoutArgs(1, hash, 0), syscall.EALREADY)
		s.join(k, fanoutArgs(2, lb, 1<<20), syscall.EALREADY)
		s.join(k, fanoutArgs(2, 99, 0), syscall.EINVAL) // before anything else
		s.join(k, make([]byte, 3), syscall.EINVAL)
		s.group(k, 1)
	}},
	{"who joins must ask for what the group is", func(s fanoutScript) {
		s.join(s.all(), fanoutArgs(1, lb|flagDefrag, 10), nil)
		k := s.all()
		s.join(k, fanoutArgs(1, hash|flagDefrag, 10), syscall.EINVAL)
		s.join(k, fanoutArgs(1, lb, 10), syscall.EINVAL)
		s.join(k, fanoutArgs(1, lb|flagDefrag, 11), syscall.EINVAL)
		s.group(k, 0)
		s.join(k, fanoutArgs(1, lb|flagDefrag, 0), nil)
		s.join(s.all(), fanoutArgs(1, lb|flagDefrag, 10), nil)
	}},
	{"who joins must be bound as the group is", func(s fanoutScript) {
		s.join(s.all(), fanoutArgs(1, lb, 0), nil)
		ip := s.socket(s.T, tpacket.ETHPIP)
		s.join(ip, fanoutArgs(1, lb, 0), syscall.EINVAL)
		s.join(ip, fanoutArgs(2, lb, 0), nil)
		bound := s.all()
		s.returns(bound.bind(s.device(), tpacket.ETHPAll), nil)
		s.join(bound, fanoutArgs(1, lb, 0), syscall.EINVAL)
		s.join(bound, fanoutArgs(3, lb, 0), nil)
		s.join(s.all(), fanoutArgs(3, lb, 0), syscall.EINVAL)
	}},
	{"a group of so many members", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(1, lb, 1<<16+1), syscall.EINVAL)
		s.join(k, fanoutArgs(1, lb, 2), nil)
		second := s.all()
		s.join(second, fanoutArgs(1, lb, 0), nil)
		third := s.all()
		s.join(third, fanoutArgs(1, lb, 2), syscall.ENOSPC)
		s.join(third, fanoutArgs(1, hash, 2), syscall.EINVAL)
		second.close()
		s.join(third, fanoutArgs(1, lb, 2), nil)
		s.join(s.all(), fanoutArgs(2, lb, 1<<16), nil)
	}},
	{"256 members unless one says otherwise", func(s fanoutScript) {
		for range 256 {
			s.join(s.all(), fanoutArgs(1, lb, 0), nil)
		}
		s.join(s.all(), fanoutArgs(1, lb, 0), syscall.ENOSPC)
		s.join(s.all(), fanoutArgs(1, lb, 256), syscall.ENOSPC)
		s.join(s.all(), fanoutArgs(1, lb, 257), syscall.EINVAL)
	}},
	{"a group ends with its last member", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(1, lb, 0), nil)
		other := s.all()
		s.join(other, fanoutArgs(1, lb, 0), nil)
		k.close()
		s.join(s.all(), fanoutArgs(1, hash, 0), syscall.EINVAL)
		other.close()
		s.join(s.all(), fanoutArgs(1, hash, 0), nil)
	}},
	{"who is refused leaves no group behind", func(s fanoutScript) {
		s.join(s.socket(s.T, 0), fanoutArgs(1, lb, 7), syscall.EINVAL)
		s.join(s.all(), fanoutArgs(1, hash, 8), nil)
	}},
	{"an id of its own", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(1, lb|flagUnique, 0), syscall.EINVAL)
		s.join(k, fanoutArgs(0, lb|flagUnique, 0), nil)
		id := s.id(k)
		s.group(k, lb<<16|uint32(id)) // the flag is not kept
		other := s.all()
		s.join(other, fanoutArgs(0, lb|flagUnique, 0), nil)
		if s.id(other) == id {
			s.Errorf("both have id %d", id)
		}
		third := s.all()
		s.join(third, fanoutArgs(id, lb, 0), nil)
		s.join(s.all(), fanoutArgs(id, lb|flagUnique, 0), map[bool]error{true: nil, false: syscall.EINVAL}[id == 0])
	}},
	{"a member keeps its binding", func(s fanoutScript) {
		k := s.all()
		s.returns(k.bind(s.device(), tpacket.ETHPAll), nil)
		s.join(k, fanoutArgs(1, lb, 0), nil)
		for _, ifindex := range []int{s.device(), 0, 9999} {
			s.returns(k.bind(ifindex, tpacket.ETHPAll), syscall.EINVAL)
		}
		other := s.all() // the group is still bound to the device
		s.join(other, fanoutArgs(1, lb, 0), syscall.EINVAL)
		s.returns(other.bind(s.device(), 0), nil) // all protocols, still
		s.join(other, fanoutArgs(1, lb, 0), nil)
	}},
	{"room for the value", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(0x0102, lb, 0), nil)
		for _, room := range []int{0, 1, 2, 3, 4, 8} {
			got, err := k.get(tpacket.OptFanout, room)
			want := binary.NativeEndian.AppendUint32(nil, lb<<16|0x0102)[:min(room, 4)]
			if err != nil || !slices.Equal(got, want) {
				s.Errorf("room for %d bytes: % x, %v; want % x", room, got, err, want)
			}
		}
		_, err := k.get(tpacket.OptFanoutData, 4)
		s.returns(err, syscall.ENOPROTOOPT)
	}},
	{"statistics for those that roll over", func(s fanoutScript) {
		k := s.all()
		_, err := k.get(tpacket.OptRolloverStats, 24)
		s.returns(err, syscall.EINVAL)
		s.join(k, fanoutArgs(1, lb, 0), nil)
		_, err = k.get(tpacket.OptRolloverStats, 24)
		s.returns(err, syscall.EINVAL)
		for id, typeFlags := range []uint16{rolloverMode, lb | flagRollover} {
			k := s.all()
			s.join(k, fanoutArgs(uint16(2+id), typeFlags, 0), nil)
			for _, room := range []int{0, 8, 23, 24, 40} {
				got, err := k.get(tpacket.OptRolloverStats, room)
				if err != nil || !slices.Equal(got, make([]byte, min(room, 24))) {
					s.Errorf("room for %d bytes: % x, %v; want zeros", room, got, err)
				}
			}
			s.returns(k.set(tpacket.SolPacket, tpacket.OptRolloverStats, make([]byte, 24)), syscall.ENOPROTOOPT)
		}
	}},
	{"a program is for groups that run one", func(s fanoutScript) {
		k := s.all()
		s.data(k, make([]byte, 16), syscall.EINVAL)
		s.returns(k.program(rxtest.Keep(1)), syscall.EINVAL)
		s.join(k, fanoutArgs(1, hash, 0), nil)
		s.data(k, make([]byte, 16), syscall.EINVAL)
		s.returns(k.program(rxtest.Keep(1)), syscall.EINVAL)
	}},
	{"programs that are none", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(1, cbpfMode, 0), nil)
		for _, n := range []int{0, 4, 8, 15, 17, 32} {
			s.data(k, make([]byte, n), syscall.EINVAL)
		}
		s.data(k, make([]byte, 16), syscall.EINVAL)          // no instructions, nowhere
		s.data(k, []byte{1, 0, 15: 0}, syscall.EINVAL)       // one instruction, nowhere
		s.data(k, []byte{0, 0, 8: 8, 15: 0}, syscall.EINVAL) // no instructions, somewhere
		s.data(k, []byte{1, 0, 8: 8, 15: 0}, syscall.EFAULT) // one instruction, where no memory is
		s.returns(k.program([]cbpf.Instruction{{Op: 0xffff}}), syscall.EINVAL)
		s.returns(k.program(rxtest.Keep(1)), nil)
		s.returns(k.program(rxtest.Keep(2)), nil) // instead
	}},
	{"a locked filter locks the program, too", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(1, cbpfMode, 0), nil)
		other := s.all()
		s.join(other, fanoutArgs(1, cbpfMode, 0), nil)
		e := s.all()
		s.join(e, fanoutArgs(2, ebpfMode, 0), nil)
		for _, k := range []sideSocket{k, e} {
			s.returns(k.set(rxtest.SolSocket, rxtest.SoLockFilter, rxtest.Int(1)), nil)
			s.data(k, make([]byte, 3), syscall.EPERM)
		}
		s.returns(k.program(rxtest.Keep(1)), syscall.EPERM)
		s.returns(k.program([]cbpf.Instruction{{Op: 0xffff}}), syscall.EPERM)
		s.returns(other.program(rxtest.Keep(1)), nil) // it is the socket that is locked
	}},
	{"eBPF for who may not load programs, and has none", func(s fanoutScript) {
		k := s.all()
		s.join(k, fanoutArgs(1, ebpfMode, 0), nil)
		for _, n := range []int{0, 3, 5, 16} {
			s.data(k, make([]byte, n), syscall.EINVAL)
		}
		s.data(k, rxtest.Int(-1), syscall.EBADF) // what bpf() returned
		s.data(k, rxtest.Int(0), syscall.EINVAL) // a descriptor of something else
	}},
}

// SO_LOCK_FILTER (asm-generic/socket.h)

func TestFanoutRules(t *testing.T) {
	for _, rule := range fanoutRules {
		t.Run(rule.name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			rule.run(fanoutScript{t, ours{ns, rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})}})
		})
	}
}

// ours is rxring's side.
type ours struct {
	ns  *rxring.Namespace
	dev *rxring.Device
}

func (o ours) device() int { return o.dev.Index() }

func (o ours) socket(t *testing.T, protocol uint16) sideSocket {
	t.Helper()
	s, err := o.ns.Socket(rxring.SockRaw, protocol)
	rxtest.Must(t, err)
	return ourSocket{s}
}

type ourSocket struct{ *rxring.Socket }

func (s ourSocket) bind(ifindex int, protocol uint16) error {
	return s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(ifindex), Protocol: tpacket.Htons(protocol)})
}

func (s ourSocket) set(level, name int, val []byte) error { return s.Setsockopt(level, name, val) }

func (s ourSocket) get(name, room int) ([]byte, error) {
	b := make([]byte, room)
	n, err := s.Getsockopt(tpacket.SolPacket, name, b)
	return b[:n], err
}

func (s ourSocket) program(prog []cbpf.Instruction) error { return s.SetFanoutProgram(prog) }

func (s ourSocket) close() { s.Close() }

func TestErrorsOfFanoutSayWhatToDo(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	open := func(protocol uint16) *rxring.Socket {
		s, err := ns.Socket(rxring.SockRaw, protocol)
		rxtest.Must(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	member, closed := open(tpacket.ETHPAll), open(tpacket.ETHPAll)
	rxtest.Must(t, member.JoinFanout(rxring.FanoutConfig{ID: 7, Mode: rxring.FanoutLB, MaxMembers: 1}), closed.Close())
	_, noStats := rxtest.RolloverStats(member)
	for _, c := range []struct {
		err   error
		errno syscall.Errno
		says  string
	}{
		{member.JoinFanout(rxring.FanoutConfig{}), syscall.EALREADY, "set PACKET_FANOUT: the socket is in fanout group 7: it can leave only by being closed"},
		{open(3).JoinFanout(rxring.FanoutConfig{Mode: 8}), syscall.EINVAL, "set PACKET_FANOUT: fanout mode 8: want 0 to 7"},
		{open(3).JoinFanout(rxring.FanoutConfig{Flags: 1}), syscall.EINVAL, "set PACKET_FANOUT: fanout flags 0x1: want the low 8 bits clear"},
		{open(3).JoinFanout(rxring.FanoutConfig{ID: 7, Mode: rxring.FanoutLB}), syscall.ENOSPC, "set PACKET_FANOUT: fanout group 7: it has all 1 members that it takes"},
		{open(0x800).JoinFanout(rxring.FanoutConfig{ID: 7, Mode: rxring.FanoutLB}), syscall.EINVAL, "set PACKET_FANOUT: fanout group 7: protocol 0x800: it has 0x3"},
		{member.SetFanoutProgram(rxtest.Keep(1)), syscall.EINVAL, "set PACKET_FANOUT_DATA: fanout mode 1: want 6"},
		{noStats, syscall.EINVAL, "the socket is in no fanout group that rolls over"},
		{member.Bind(member.Addr()), syscall.EINVAL, "bind: the socket is in fanout group 7, which keeps its binding"},
		{closed.JoinFanout(rxring.FanoutConfig{}), syscall.EBADF, "set PACKET_FANOUT: " + rxring.ErrClosed.Error()},
	} {
		if !errors.Is(c.err, c.errno) || c.err.Error() != c.says {
			t.Errorf("%v\nwant %s", c.err, c.says)
		}
	}
}

func TestFanoutIDsRunOut(t *testing.T) {
	need.Time(t, "it makes many calls on the kernel")
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	rxtest.Must(t, ns.RemoveDevice(ns.Loopback())) // a device's list of so many groups takes long to make, each time
	unique := rxring.FanoutConfig{Mode: rxring.FanoutLB, Flags: rxring.FanoutFlagUniqueID, MaxMembers: 1}
	var last *rxring.Socket
	for range 1 << 16 {
		s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err, s.JoinFanout(unique))
		last = s
	}
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	if err := s.JoinFanout(unique); !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("%v, want ENOMEM", err)
	}
	was, _ := last.Fanout()
	rxtest.Must(t, last.Close(), s.JoinFanout(unique))
	if c, _ := s.Fanout(); c.ID != was.ID {
		t.Errorf("got id %d, want the only free one, %d", c.ID, was.ID)
	}
}

func TestFanoutTellsTheGroup(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	if c, ok := s.Fanout(); ok {
		t.Errorf("in group %+v before it joined one", c)
	}
	rxtest.Must(t, s.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutQM, Flags: rxring.FanoutFlagUniqueID | rxring.FanoutFlagRollover}))
	want := rxring.FanoutConfig{ID: 0, Mode: rxring.FanoutQM, Flags: rxring.FanoutFlagRollover, MaxMembers: 256}
	if c, ok := s.Fanout(); !ok || c != want {
		t.Errorf("%+v, %v; want %+v", c, ok, want)
	}
	rxtest.Must(t, s.Close())
	if c, ok := s.Fanout(); ok {
		t.Errorf("in group %+v after Close", c)
	}
}

func FuzzFanoutOptions(f *testing.F) {
	f.Add(fanoutArgs(1, lb|flagDefrag, 5), []byte{1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1})
	f.Add(fanoutArgs(0, ebpfMode|flagUnique, 0)[:4], rxtest.Int(3))
	f.Add(fanoutArgs(9, cbpfMode|0x0f00, 1<<16), make([]byte, 16))
	f.Add([]byte{1, 2, 3}, []byte{})
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	f.Fuzz(func(t *testing.T, args, data []byte) {
		s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		joined := s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args)
		c, ok := s.Fanout()
		b := make([]byte, 4)
		_, err = s.Getsockopt(tpacket.SolPacket, tpacket.OptFanout, b)
		value := binary.NativeEndian.Uint32(b)
		switch {
		case ok != (joined == nil) || err != nil:
			t.Errorf("% x: %v, in a group %v, %v", args, joined, ok, err)
		case !ok && value != 0:
			t.Errorf("% x: in no group, but %#x", args, value)
		case ok && (value != tpacket.FanoutArgs(c.ID, uint8(c.Mode), uint16(c.Flags)) || c.MaxMembers == 0 || c.MaxMembers > 1<<16):
			t.Errorf("% x: %+v reads back as %#x", args, c, value)
		case ok && binary.NativeEndian.Uint32(args)&^(flagUnique<<16) != value && c.Flags&flagUnique == 0 && binary.NativeEndian.Uint32(args)&(flagUnique<<16) == 0:
			t.Errorf("% x: joined %#x", args, value)
		}
		var errno syscall.Errno
		if err := s.Setsockopt(tpacket.SolPacket, tpacket.OptFanoutData, data); !errors.As(err, &errno) {
			t.Errorf("data % x: %v: want an errno, there is no program in it", data, err)
		}
	})
}
