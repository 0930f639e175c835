//go:build amd64 || arm64

package cbpf

import (
	"errors"
	"math/bits"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// attach is setsockopt(SO_ATTACH_FILTER).
func attach(fd int, prog []Instruction) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, SockFprog(prog))
}

// kernelFilter is the kernel as a filter machine: a pair of unix datagram
// sockets, which anyone may have.
type kernelFilter struct {
	t       *testing.T
	in, out int
	buf     []byte
}

func newKernelFilter(t *testing.T) *kernelFilter {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		need.Skip(t, need.Kernel, "socketpair: %v", err)
	}
	t.Cleanup(func() { syscall.Close(fds[0]); syscall.Close(fds[1]) })
	return &kernelFilter{t, fds[0], fds[1], make([]byte, 1<<17)}
}

// run returns how many bytes of a datagram the attached program lets through.
func (f *kernelFilter) run(data []byte) int {
	f.t.Helper()
	if _, err := syscall.Write(f.in, data); err != nil {
		f.t.Fatal(err)
	}
	n, _, err := syscall.Recvfrom(f.out, f.buf, syscall.MSG_DONTWAIT)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return 0
	case err != nil:
		f.t.Fatal(err)
	}
	return n
}

// onUnix is what a datagram on a unix socket looks like to a filter: no device
// and no headers. (Without a device, a program that asks for its index or type
// ends with A as the verdict. An rxring packet always has one.)
var onUnix = []uint32{
	AdProtocol, AdPktType, adNlattr, adNlattrNest, adMark, adQueue, adRxHash, adAluXorX, adVLANTag, adVLANTagPresent, adVLANTPID,
}

func TestTheKernelGivesTheSameVerdicts(t *testing.T) {
	k := newKernelFilter(t)
	var runs, dropped, cut int
	for seed := range uint64(4000) {
		c := random(seed)
		prog := c.validProgram(false, onUnix)
		f := mustCompile(t, prog)
		if err := attach(k.out, prog); err != nil {
			t.Fatalf("the kernel refuses what Compile accepts: %v\n%v", err, listing(prog))
		}
		for range 4 {
			data := append([]byte{byte(c(256))}, c.packet()...)
			got, want := int(min(f.Run(whole(data)), uint32(len(data)))), k.run(data)
			if got != want {
				t.Fatalf("seed %d: keeps %d, the kernel %d, of\n%x\n%v", seed, got, want, data, listing(prog))
			}
			runs++
			if want == 0 {
				dropped++
			} else if want < len(data) {
				cut++
			}
		}
	}
	t.Logf("%d runs: %d dropped, %d cut, the others whole", runs, dropped, cut)
}

func TestTheKernelFiltersLibpcapsProgramsAlike(t *testing.T) {
	k := newKernelFilter(t)
	packets := traffic(nil, 0)
	for _, p := range corpus(t) {
		err := attach(k.out, p.prog)
		f, compileErr := Compile(p.prog)
		if (err == nil) != (compileErr == nil) {
			t.Fatalf("%v: %v, the kernel: %v", p, compileErr, err)
		}
		if err != nil || usesHeaders(p.prog) {
			continue
		}
		for _, data := range packets {
			if len(data) == 0 {
				continue
			}
			got, want := int(min(f.Run(whole(data)), uint32(len(data)))), k.run(data)
			if got != want {
				t.Fatalf("%v: keeps %d, the kernel %d, of %d bytes\n%.64x\n%v", p, got, want, len(data), data, listing(p.prog))
			}
		}
	}
}

// usesHeaders reports whether a program asks where headers are, which a unix
// datagram cannot say.
func usesHeaders(prog []Instruction) bool {
	for _, in := range prog {
		if in.Op&0x07 == classLD && in.Op&0xe0 == modeABS && in.K >= LLOff && in.K < AdOff {
			return true
		}
	}
	return false
}

func TestTheKernelRefusesTheSamePrograms(t *testing.T) {
	need.Time(t, "it asks the kernel thousands of times")
	k := newKernelFilter(t)
	var accepted, refused int
	compare := func(prog []Instruction) {
		t.Helper()
		_, got := Compile(prog)
		want := attach(k.out, prog)
		if errors.Is(want, syscall.ENOMEM) { // over net.core.optmem_max
			return
		}
		if (got == nil) != (want == nil) || got != nil && !errors.Is(got, want) {
			t.Fatalf("Compile: %v, the kernel: %v\n%v", got, want, listing(prog))
		}
		if got == nil {
			accepted++
		} else {
			refused++
		}
	}
	for seed := range uint64(20000) {
		c := random(seed)
		compare(c.broken(c.validProgram(false, onUnix)))
	}
	for op := range 0x10000 { // every operation there is, with constants that suit it
		if op >= 0x200 && op%97 != 0 {
			continue
		}
		compare([]Instruction{{Op: classST, K: 1}, {Op: uint16(op), K: 1}, {Op: classRET}, {Op: classRET}})
	}
	for ad := range uint32(0x1000) { // every ancillary datum
		compare([]Instruction{{Op: classLD | modeABS | sizeB, K: AdOff + ad}, {Op: classRET}})
	}
	for _, c := range checkCases {
		compare(c.prog)
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
}

// loopback is an AF_PACKET socket on the loopback device of a network namespace
// of our own.
type loopback struct {
	*kernelFilter
}

// inNamespace runs f on a thread in a network namespace of its own, with the
// loopback device up.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	need.Root(t, "open the kernel's packet sockets")
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		need.Skip(t, need.Kernel, "no network namespace: %v", err)
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 } // on the little-endian machines that run this

// newLoopback returns a socket of the type that sees each packet once, as it
// comes in.
func newLoopback(t *testing.T, typ int) loopback {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
			runtime.Goexit()
		}
	}
	out, err := syscall.Socket(syscall.AF_PACKET, typ, int(htons(syscall.ETH_P_ALL)))
	must(err)
	in, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	must(err)
	t.Cleanup(func() { syscall.Close(in); syscall.Close(out) })
	ifreq := struct { // struct ifreq (linux/if.h)
		name  [16]byte
		flags uint16
		_     [22]byte
	}{name: [16]byte{'l', 'o'}, flags: syscall.IFF_UP}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(in), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&ifreq)))
	if errno != 0 {
		must(errno)
	}
	const packetIgnoreOutgoing = 23 // PACKET_IGNORE_OUTGOING (linux/if_packet.h)
	must(syscall.SetsockoptInt(out, syscall.SOL_PACKET, packetIgnoreOutgoing, 1))
	must(syscall.Bind(in, &syscall.SockaddrLinklayer{Ifindex: 1}))
	return loopback{&kernelFilter{t, in, out, make([]byte, 1<<17)}}
}

// received is what the loopback device makes of an Ethernet frame: the outer
// VLAN tag comes out of it (skb_vlan_untag), the type is known (eth_type_trans).
func received(frame []byte, typ int) *Packet {
	p := &Packet{Data: frame, NetOff: 14, Ifindex: 1, Hatype: 772, PacketType: 3} // ARPHRD_LOOPBACK, PACKET_OTHERHOST
	p.Protocol = uint16(frame[12])<<8 | uint16(frame[13])
	const eth8021Q, eth8021AD = 0x8100, 0x88a8
	if p.Protocol == eth8021Q || p.Protocol == eth8021AD {
		p.VLANPresent, p.VLANTPID = true, p.Protocol
		p.VLANTCI = uint16(frame[14])<<8 | uint16(frame[15])
		p.Data = append(append([]byte(nil), frame[:12]...), frame[16:]...)
		p.Protocol = uint16(p.Data[12])<<8 | uint16(p.Data[13])
	}
	if typ == syscall.SOCK_DGRAM {
		p.Start = 14
	}
	p.Len = uint32(len(p.Data))
	return p
}

func TestTheKernelLoadsTheSameAncillaryData(t *testing.T) {
	padding := make([]byte, 40000) // a verdict shows how large a datum is up to here
	frames := map[string][]byte{
		"ipv4":        ethernet(0x800, append(ipv4(6, tcp(1, 2, nil)), padding...)),
		"vlan":        ethernet(0x8100, append([]byte{0x60, 5, 8, 0}, append(ipv4(17, udp(1, 2, nil)), padding...)...)),
		"double vlan": ethernet(0x88a8, append([]byte{0, 9, 0x81, 0, 0, 5, 0x86, 0xdd}, append(ipv6(6, tcp(1, 2, nil)), padding...)...)),
	}
	loads := map[string]Instruction{
		"protocol": {Op: 0x28, K: AdOff + AdProtocol}, "pkttype": {Op: 0x28, K: AdOff + AdPktType},
		"ifindex": {Op: 0x20, K: AdOff + AdIfindex}, "hatype": {Op: 0x20, K: AdOff + AdHatype},
		"mark": {Op: 0x20, K: AdOff + adMark}, "queue": {Op: 0x20, K: AdOff + adQueue},
		"vlan tci": {Op: 0x30, K: AdOff + adVLANTag}, "vlan present": {Op: 0x30, K: AdOff + adVLANTagPresent},
		"vlan tpid": {Op: 0x30, K: AdOff + adVLANTPID}, "payload": {Op: 0x20, K: AdOff + adPayOffset},
		"length": {Op: 0x80}, "xor x": {Op: 0x30, K: AdOff + adAluXorX},
		"destination": {Op: 0x30, K: LLOff}, "source, destination": {Op: 0x28, K: LLOff + 5},
		"type": {Op: 0x28, K: LLOff + 12}, "across headers": {Op: 0x28, K: LLOff + 13},
		"protocol of ip": {Op: 0x30, K: NetOff + 9}, "beyond": {Op: 0x30, K: NetOff + 60000},
		"below link layer": {Op: 0x30, K: LLOff - 1}, "first byte": {Op: 0x30}, "type or more": {Op: 0x28, K: 12},
	}
	for _, typ := range []int{syscall.SOCK_RAW, syscall.SOCK_DGRAM} {
		inNamespace(t, func() {
			k := newLoopback(t, typ)
			for name, load := range loads {
				// ldx #1; load; add x; ret a: 0 is a datum, too
				prog := []Instruction{{Op: classLDX | modeIMM, K: 1}, load, {Op: classALU | aluADD | srcX}, {Op: classRET | retA}}
				f, err := Compile(prog)
				if err != nil {
					t.Error(err)
					return
				}
				if err := attach(k.out, prog); err != nil {
					t.Error(err)
					return
				}
				for what, frame := range frames {
					p := received(frame, typ)
					if got, want := int(min(f.Run(p), p.Len-p.Start)), k.run(frame); got != want {
						t.Errorf("%s of %s, socket type %d: keeps %d, the kernel %d", name, what, typ, got, want)
					}
				}
			}
		})
	}
}

func TestTheKernelFindsTheSamePayload(t *testing.T) {
	inNamespace(t, func() {
		k := newLoopback(t, syscall.SOCK_RAW)
		prog := []Instruction{{Op: classLD | modeABS | sizeW, K: AdOff + adPayOffset}, {Op: classALU | aluADD | srcK, K: 1}, {Op: classRET | retA}}
		f, err := Compile(prog)
		if err != nil {
			t.Error(err)
			return
		}
		if err := attach(k.out, prog); err != nil {
			t.Error(err)
			return
		}
		var found int
		for seed := range uint64(20000) {
			frame := random(seed).headers()
			for len(frame) < 20 { // skb_vlan_untag drops what is shorter
				frame = append(frame, 0)
			}
			p := received(frame, syscall.SOCK_RAW)
			got, want := int(min(f.Run(p), p.Len)), k.run(frame)
			if got != want {
				t.Errorf("seed %d: %d, the kernel %d, of %d bytes\n%x", seed, got-1, want-1, len(frame), frame)
				return
			}
			if got > 1 {
				found++
			}
		}
		t.Logf("20000 packets, %d of them with a payload", found)
	})
}

// headers draws an Ethernet frame of headers that lead to each other, mostly.
func (c chooser) headers() []byte {
	frame := ethernet(0, nil)
	typ := len(frame) - 2 // where the next header's type goes
	wide := true
	put := func(ether uint16, ip uint8) {
		if wide {
			frame[typ], frame[typ+1] = byte(ether>>8), byte(ether)
		} else {
			frame[typ] = ip
		}
	}
	random := func(n int) (b []byte) {
		for range n {
			b = append(b, byte(c(256)))
		}
		return b
	}
	for range c(7) {
		at := len(frame)
		switch kind := c(9); {
		case kind < 3 && wide || kind == 0:
			put(0x800, 4)
			frame = append(frame, ipv4(byte(c(256)), nil)...)
			frame[at] = 0x40 | byte(5+c(3))
			if c(20) == 0 {
				frame[at] = byte(c(256))
			}
			if c(8) == 0 {
				frame[at+6], frame[at+7] = byte(c(256)), byte(c(3))
			}
			frame = append(frame, random(max(0, int(frame[at]&15)*4-20))...)
			typ, wide = at+9, false
		case kind < 5 && wide || kind == 1:
			put(0x86dd, 41)
			frame = append(frame, ipv6(byte(c(256)), nil)...)
			typ, wide = at+6, false
		case kind < 7 && wide:
			put([]uint16{0x8100, 0x88a8}[c(2)], 0)
			frame = append(frame, random(4)...)
			typ = at + 2
		case kind == 7 && wide:
			put(0x8864, 0)
			frame = append(frame, 0x11, 0, 0, 1, 0, byte(c(256)), []byte{0, 2, 0xc0, 0x21}[c(4)*c(2)], []byte{0x21, 0x57, 0x81, 0xfd, 0x20}[c(5)])
			return append(frame, append(ipv4(6, tcp(1, 2, nil)), random(c(40))...)...)
		case wide:
			put([]uint16{0x8847, 0x8848, 0x806, 0x8035, uint16(c(1 << 16))}[c(5)], 0)
			return append(frame, random(c(60))...)
		case kind < 5:
			put(0, []byte{0, 43, 60}[c(3)])
			words := c(3)
			frame = append(append(frame, byte(c(256)), byte(words)), random(words*8+6)...)
			typ = at
		case kind == 5:
			put(0, 44)
			frame = append(frame, byte(c(256)), 0, byte(c(2)), byte(c(2)), 0, 0, 0, 0)
			typ = at
		default:
			put(0, 47)
			if c(4) == 0 { // PPTP: GRE version 1 around PPP
				flags, ack := byte(0x20|c(2)<<4|c(2)<<7), byte(c(2))<<7
				frame = append(frame, flags, ack|1, 0x88, 0x0b)
				frame = append(frame, random(4*bits.OnesCount8(flags)+int(ack>>7)*4)...)
				frame = append(frame, 0xff, 3, 0, []byte{0x21, 0x57, 0x23}[c(3)])
				return append(frame, append(ipv4(6, tcp(1, 2, nil)), random(c(40))...)...)
			}
			flags := byte(c(16)) << 4
			if c(3) > 0 {
				flags &^= 0x40
			}
			frame = append(frame, flags, byte(c(4)*c(2)), 0x65, 0x58)
			typ, wide = at+2, true
			for bit := byte(0x80); bit >= 0x10; bit >>= 1 {
				if flags&bit != 0 && bit != 0x40 {
					frame = append(frame, random(4)...)
				}
			}
			if c(3) == 0 {
				frame = append(frame, ethernet(0, nil)...)
				typ = len(frame) - 2
			}
		}
	}
	if !wide {
		put(0, []byte{6, 6, 17, 1, 58, 2, 33, 132, 136, 137, byte(c(256))}[c(11)])
	}
	frame = append(frame, random(c(80))...)
	if c(4) == 0 {
		frame = frame[:max(14, c(len(frame)))]
	}
	return frame
}

func TestTheKernelFindsTheSameNetlinkAttributes(t *testing.T) {
	need.Time(t, "it asks the kernel thousands of times")
	k := newKernelFilter(t)
	var found int
	for seed := range uint64(5000) {
		c := random(seed)
		var data []byte
		for range 2 + c(6) { // attributes within attributes, some of them broken
			size := 4 + c(12)
			attr := make([]byte, (size+3)&^3)
			attr[0], attr[2], attr[3] = byte(size), byte(c(4)), byte(c(3)<<6)
			if size >= 8 {
				attr[4], attr[6] = byte(size-4-c(2)), byte(c(4))
			}
			if c(15) == 0 {
				attr[c(len(attr))] = byte(c(256))
			}
			data = append(data, attr...)
		}
		prog := append(imm(uint32(c(12)*c(4)), uint32(c(4))), returning(aux([]uint32{adNlattr, adNlattrNest}[c(2)]))...)
		if err := attach(k.out, prog); err != nil {
			t.Fatal(err)
		}
		got, want := int(min(mustCompile(t, prog).Run(whole(data)), uint32(len(data)))), k.run(data)
		if got != want {
			t.Fatalf("seed %d: %d, the kernel %d\n%x\n%v", seed, got, want, data, listing(prog))
		}
		if got > 0 {
			found++
		}
	}
	t.Logf("5000 lists, an attribute found in %d", found)
}
