package dump

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

// Any is the name by which a capture means all devices, also those that are added later.
const Any = "any"

// maxNamed is the largest number of devices that can be named: the socket's filter compares a
// packet's device with each.
const maxNamed = 64

// several are devices that are captured together, from one socket that is bound to all
// devices. Its filter accepts those that were named.
type several struct {
	named    bool                   // packets of other devices are rejected
	cooked   bool                   // all packets are written with a header of LINUX_SLL2
	loopback int32                  // the kernel's loopback device, which receives each packet that it sends; 0: none
	name     func(index int) string // the name of a device that was not known at the start

	expr     string
	snaplen  int
	filtered []uint16 // hardware types for which the socket's filter has the expression
}

// splitAny checks the names of -i. all is true for "any".
func splitAny(names []string) (_ []string, all bool, err error) {
	if slices.Contains(names, Any) {
		if len(names) > 1 {
			return nil, false, &UsageError{errors.New("-i any captures on all devices: want no other -i with it")}
		}
		return nil, true, nil
	}
	var unique []string
	for _, name := range names {
		if name == "" {
			return nil, false, &UsageError{errors.New(`-i "": want the name of a device, or any for all`)}
		}
		if !slices.Contains(unique, name) {
			unique = append(unique, name)
		}
	}
	if len(unique) > maxNamed {
		return nil, false, &UsageError{fmt.Errorf("-i: %d devices: want at most %d, or -i any for all", len(unique), maxNamed)}
	}
	return unique, false, nil
}

// newSeveral opens a socket for devices: those that were named, or those that there are now.
func newSeveral(in *Input, devices []*device, named bool, c capture.Config, open func(capture.Config) (*capture.Handle, error)) (*Input, error) {
	in.several.named = named
	in.devices = devices
	for i, d := range devices {
		d.id = i
	}
	if in.Device = Any; named {
		var names []string
		for _, d := range devices {
			names = append(names, d.name)
		}
		in.Device = suggest.List(names)
	}
	c.Filter = rejectAll
	var err error
	if in.Handle, err = open(c); err != nil {
		return nil, err
	}
	if !named || !c.Promiscuous {
		return in, nil
	}
	for _, d := range devices {
		err := in.Handle.Join(capture.Membership{Type: capture.Promiscuous, Ifindex: int(d.index)})
		if err != nil {
			in.Handle.Close()
			return nil, fmt.Errorf("%s: promiscuous mode: %w: -p captures without it", d.name, err)
		}
	}
	return in, nil
}

// oneLinkType has all packets written with the same link type, for a file that has one: the
// devices' own if it is the same, or else LINUX_SLL2.
func (in *Input) oneLinkType() {
	s := in.several
	if s == nil {
		return
	}
	same := func(d *device) bool { return d.link == in.devices[0].link }
	if s.named && !slices.ContainsFunc(in.devices, func(d *device) bool { return !same(d) }) {
		return
	}
	s.cooked = true
	for _, d := range in.devices {
		d.cook()
	}
}

// deviceOf returns the device of a packet.
func (in *Input) deviceOf(from *tpacket.SockaddrLL) (*device, error) {
	if d := in.last; in.several == nil || d != nil && d.index == from.Ifindex && d.hatype == from.Hatype {
		return d, nil
	}
	is := func(d *device) bool { return d.index == from.Ifindex && d.hatype == from.Hatype }
	if i := slices.IndexFunc(in.devices, is); i >= 0 {
		in.last = in.devices[i]
		return in.last, nil
	}
	s := in.several
	d := newDevice(s.name(int(from.Ifindex)), int(from.Ifindex), from.Hatype)
	if d.id = len(in.devices); d.id == capfile.MaxInterfaces {
		return nil, fmt.Errorf("packet of device %s: %d devices were captured already: want fewer, by name", d.name, d.id)
	}
	if s.cooked {
		d.cook()
	}
	if err := s.filterHere(d); err != nil {
		return nil, err
	}
	in.devices = append(in.devices, d)
	in.last = d
	return d, nil
}

// filterHere has dumper run the expression on the packets of a new device, unless the socket's
// filter does.
func (s *several) filterHere(d *device) error {
	if slices.Contains(s.filtered, d.hatype) {
		return nil
	}
	prog, err := d.compile(s.expr, s.snaplen)
	if errors.Is(err, syscall.EINVAL) { // the expression is about another link type
		prog, err = rejectAll, nil
	}
	if err == nil && prog != nil {
		d.own, err = cbpf.Compile(prog)
	}
	return err
}

// compile compiles an expression to one program for the socket, which selects by a packet's
// device and its hardware type. Packets of other types are accepted: see filterHere.
func (s *several) compile(devices []*device, expr string, snaplen int) ([]cbpf.Instruction, error) {
	s.expr, s.snaplen, s.filtered = expr, snaplen, nil
	var types [][]cbpf.Instruction // by index in s.filtered
	var refused error
	valid := false
	for _, d := range devices {
		prog, err := d.compile(expr, snaplen)
		switch {
		case errors.Is(err, syscall.EINVAL) && !s.named: // none of its packets
			refused = err
			prog = rejectAll
		case err != nil:
			return nil, fmt.Errorf("%s: %w", d.name, err)
		default:
			valid = true
		}
		if prog != nil && !slices.Contains(s.filtered, d.hatype) {
			s.filtered = append(s.filtered, d.hatype)
			types = append(types, prog)
		}
	}
	if refused != nil && !valid {
		return nil, refused
	}
	prog := s.selects(devices)
	if len(types) > 0 {
		prog = append(prog, byHatype(s.filtered, types)...)
	} else {
		prog = append(prog, cbpf.Instruction{Op: cbpf.OpRetK, K: maxSnaplen})
	}
	if _, err := cbpf.Compile(prog); err != nil {
		return nil, &UsageError{fmt.Errorf("filter %q for %d hardware types: %w", strings.TrimSpace(expr), len(types), err)}
	}
	return prog, nil
}

// selects rejects packets of devices that were not named, and the loopback device's outgoing
// ones. It falls through for others.
func (s *several) selects(devices []*device) (prog []cbpf.Instruction) {
	if s.named {
		prog = append(prog, cbpf.Instruction{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + cbpf.AdIfindex})
		for i, d := range devices {
			prog = append(prog, cbpf.Instruction{Op: cbpf.OpJEQ, K: uint32(d.index), Jt: uint8(len(devices) - i)})
		}
		prog = append(prog, cbpf.Instruction{Op: cbpf.OpRetK})
	}
	if s.loopback != 0 {
		prog = append(prog,
			cbpf.Instruction{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + cbpf.AdPktType},
			cbpf.Instruction{Op: cbpf.OpJEQ, K: uint32(tpacket.PacketOutgoing), Jf: 3},
			cbpf.Instruction{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + cbpf.AdIfindex},
			cbpf.Instruction{Op: cbpf.OpJEQ, K: uint32(s.loopback), Jf: 1},
			cbpf.Instruction{Op: cbpf.OpRetK},
		)
	}
	return prog
}

// byHatype runs the program for a packet's hardware type. It accepts packets of other types.
func byHatype(types []uint16, programs [][]cbpf.Instruction) []cbpf.Instruction {
	prog := []cbpf.Instruction{{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + cbpf.AdHatype}}
	target := 1 + 2*len(types) + 1 // of the first program
	for i, t := range types {
		prog = append(prog,
			cbpf.Instruction{Op: cbpf.OpJEQ, K: uint32(t), Jf: 1},
			cbpf.Instruction{Op: cbpf.OpJA, K: uint32(target - len(prog) - 2)})
		target += len(programs[i])
	}
	prog = append(prog, cbpf.Instruction{Op: cbpf.OpRetK, K: maxSnaplen})
	for _, p := range programs {
		prog = append(prog, p...)
	}
	return prog
}
