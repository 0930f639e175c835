package conformance

import (
	"math/bits"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/rxring/rxring/tpacket"
)

// scripts draws scripts: a socket set up in a sensible way, then anything.
var scripts = rapid.Custom(func(t *rapid.T) script {
	sc := drawSetUp(0).Draw(t, "set-up")
	for _, some := range rapid.SliceOfN(steps, 6, 40).Draw(t, "steps") {
		sc = append(sc, some...)
	}
	return sc.reachable()
})

// plainScripts draws scripts of sockets that mostly have no receive ring: they send
// to each other and receive.
var plainScripts = rapid.Custom(func(t *rapid.T) (sc script) {
	for s := range maxSockets {
		if s > 0 && !rapid.Bool().Draw(t, "another") {
			continue
		}
		sc = append(sc, socket{s, rapid.SampledFrom([]int{unix.SOCK_RAW, unix.SOCK_RAW, unix.SOCK_DGRAM}).Draw(t, "type"), protocols.Draw(t, "protocol")})
		for range rapid.IntRange(0, 2).Draw(t, "options") {
			sc = append(sc, drawPlainSet(t, s))
		}
		if rapid.IntRange(0, 5).Draw(t, "bind") > 0 {
			sc = append(sc, bind{s, sll{unix.AF_PACKET,
				rapid.SampledFrom([]int{tapIndex, tapIndex, tapIndex, tunIndex, loIndex, 0}).Draw(t, "index"),
				rapid.SampledFrom([]int{unix.ETH_P_ALL, unix.ETH_P_ALL, unix.ETH_P_ALL, unix.ETH_P_IP, 0}).Draw(t, "bound protocol"),
			}})
		}
	}
	for range rapid.IntRange(6, 30).Draw(t, "steps") {
		sc = append(sc, pick(t, "what", plainAlternatives)(t)...)
	}
	for s := range maxSockets { // in the end what is left is read
		for range 2 {
			sc = append(sc, recv{s, 10000, unix.MSG_TRUNC, 200})
		}
	}
	return sc.reachable()
})

// drawPlainSet sets an option that shows in what is received or sent.
func drawPlainSet(t *rapid.T, s int) op {
	level, name := unix.SOL_PACKET, rapid.SampledFrom([]int{
		unix.PACKET_AUXDATA, unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING, unix.PACKET_QDISC_BYPASS, unix.PACKET_LOSS, unix.PACKET_TX_HAS_OFF,
	}).Draw(t, "packet option")
	if rapid.Bool().Draw(t, "of the socket") {
		level, name = unix.SOL_SOCKET, rapid.SampledFrom([]int{
			unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_RXQ_OVFL, unix.SO_MARK, unix.SO_RCVMARK, unix.SO_PRIORITY, unix.SO_NOFCS,
		}).Draw(t, "socket option")
	}
	return set{s, level, name, i32(rapid.SampledFrom([]int{1, 1, 0}).Draw(t, "value"))}
}

// reachable is the script without steps on sockets that were never opened.
func (sc script) reachable() (out script) {
	var open [maxSockets]bool
	for _, o := range sc {
		s := -1
		switch o := o.(type) {
		case socket:
			open[o.s] = true
		case closeSocket:
			s = o.s
		case bind:
			s = o.s
		case set:
			s = o.s
		case get:
			s = o.s
		case attach:
			s = o.s
		case getFilter:
			s = o.s
		case fanoutProgram:
			s = o.s
		case mmap:
			s = o.s
		case munmap:
			s = o.s
		case recv:
			s = o.s
		case read:
			s = o.s
		case handBack:
			s = o.s
		case store:
			s = o.s
		case send:
			s = o.s
		case fill:
			s = o.s
		}
		if s < 0 || open[s] {
			out = append(out, o)
		}
	}
	return out
}

// steps draws what comes next: mostly one step.
var steps = rapid.Custom(func(t *rapid.T) script {
	return pick(t, "what", alternatives)(t)
})

// pick is rapid.SampledFrom without its liking for what comes first.
func pick[T any](t *rapid.T, label string, from []T) T {
	n := 0
	for range bits.Len(uint(len(from)-1)) + 3 { // the more bits, the more even
		n <<= 1
		if rapid.Bool().Draw(t, label) {
			n |= 1
		}
	}
	return from[n%len(from)]
}

// alternatives are what can come next, each as often as its weight says. The
// first is the simplest: there shrinking ends.
var alternatives = weighted(
	24, drawTraffic,
	8, one(drawHandBack),
	4, one(drawRecv),
	6, one(drawSend),
	1, drawTxRing,
	3, drawFills,
	5, one(drawGet),
	5, one(drawSet),
	3, one(drawAttach),
	1, one(func(t *rapid.T, s int) op { return getFilter{s, rapid.IntRange(0, 5).Draw(t, "room")} }),
	2, one(drawBind),
	2, drawBindToDevice,
	1, one(drawRead),
	1, one(func(t *rapid.T, s int) op {
		return set{s, unix.SOL_PACKET, unix.PACKET_FANOUT, fanouts.Draw(t, "fanout")}
	}),
	1, one(drawFanoutProgram),
	1, drawGroup,
	1, drawTimed,
	1, one(func(_ *rapid.T, s int) op { return mmap{s} }),
	1, one(func(_ *rapid.T, s int) op { return munmap{s} }),
	1, one(func(_ *rapid.T, s int) op { return closeSocket{s} }),
	1, one(drawStore),
	1, one(func(t *rapid.T, s int) op {
		return get{s, unix.SOL_PACKET, unix.PACKET_STATISTICS, room(8)}
	}),
	1, func(t *rapid.T) script { return drawRingOf(t, drawSocket(t)) },
	1, func(t *rapid.T) script { return drawSetUp(drawSocket(t)).Draw(t, "set-up") },
	2, drawDevice,
	1, drawClosing,
)

// plainAlternatives are the same for plainScripts.
var plainAlternatives = weighted(
	12, one(drawSend),
	10, one(drawRecv),
	6, drawTraffic,
	3, one(drawPlainSet),
	2, one(drawAttach),
	1, one(drawBind),
	2, drawBindToDevice,
	4, one(drawRead),
	1, one(drawSet),
	1, one(drawGet),
	2, drawTxRing,
	6, drawFills,
	1, drawDevice,
	1, drawClosing,
)

// one is a script of one step on some socket.
func one(draw func(*rapid.T, int) op) func(*rapid.T) script {
	return func(t *rapid.T) script { return script{draw(t, drawSocket(t))} }
}

// weighted has each alternative in it as often as the number before it says.
func weighted(alternatives ...any) (out []func(*rapid.T) script) {
	for i := 0; i < len(alternatives); i += 2 {
		for range alternatives[i].(int) {
			out = append(out, alternatives[i+1].(func(*rapid.T) script))
		}
	}
	return out
}

func drawSocket(t *rapid.T) int {
	return rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2}).Draw(t, "socket")
}

var protocols = rapid.SampledFrom([]int{unix.ETH_P_ALL, unix.ETH_P_ALL, 0, unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_802_2, unix.ETH_P_802_3, 0x88b5})

// drawSetUp opens a socket, and mostly gives it a ring and binds it.
func drawSetUp(s int) *rapid.Generator[script] {
	return rapid.Custom(func(t *rapid.T) script {
		sc := script{socket{
			s,
			rapid.SampledFrom([]int{unix.SOCK_RAW, unix.SOCK_RAW, unix.SOCK_DGRAM}).Draw(t, "type"),
			protocols.Draw(t, "protocol"),
		}}
		if rapid.IntRange(0, 3).Draw(t, "ring") > 0 {
			sc = append(sc, drawRingOf(t, s)...)
		}
		if rapid.Bool().Draw(t, "filter") {
			sc = append(sc, drawAttach(t, s))
		}
		if rapid.IntRange(0, 3).Draw(t, "bind") > 0 {
			sc = append(sc, drawBind(t, s))
		}
		return sc
	})
}

// hugeReserve is the most that tp_net can hold, on SOCK_RAW and V1 or V2.
const hugeReserve = 65535 - 80

// drawRingOf is a ring that the kernel takes, if nothing is in the way.
func drawRingOf(t *rapid.T, s int) (sc script) {
	v := tpacket.Version(rapid.SampledFrom([]int{0, 1, 1, 2, 2}).Draw(t, "version"))
	if v != tpacket.V1 || rapid.Bool().Draw(t, "set version") {
		sc = append(sc, set{s, unix.SOL_PACKET, unix.PACKET_VERSION, i32(v)})
	}
	if rapid.IntRange(0, 5).Draw(t, "set vnet header") == 5 {
		sc = append(sc, set{s, unix.SOL_PACKET, unix.PACKET_VNET_HDR_SZ, i32(rapid.SampledFrom([]int{10, 12}).Draw(t, "vnet header"))})
	}
	if rapid.IntRange(0, 5).Draw(t, "set copy") == 5 {
		sc = append(sc, set{s, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, i32(1)})
	}
	r := drawBlocks(t)
	if rapid.IntRange(0, 3).Draw(t, "set reserve") == 3 {
		reserve := rapid.SampledFrom([]uint32{4, 7, 16, 100, 2000, 2000, hugeReserve, hugeReserve + 1}).Draw(t, "reserve")
		if reserve >= hugeReserve {
			r.ring = req{131072, 1, 131072, 1}
		}
		sc = append(sc, set{s, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(reserve)})
	}
	if v == tpacket.V3 {
		return append(sc, set{s, unix.SOL_PACKET, unix.PACKET_RX_RING, r}, mmap{s})
	}
	return append(sc, set{s, unix.SOL_PACKET, unix.PACKET_RX_RING, r.ring}, mmap{s})
}

// drawGroup makes a fanout group of two or three sockets. With so few frames in
// their rings, who has room is a matter of yes or no: with more, chance decides
// what a ring that is nearly full still gets.
func drawGroup(t *rapid.T) (sc script) {
	v := fanout{
		id:    3,
		mode:  rapid.SampledFrom([]uint8{unix.PACKET_FANOUT_LB, unix.PACKET_FANOUT_QM, unix.PACKET_FANOUT_CBPF, unix.PACKET_FANOUT_EBPF, unix.PACKET_FANOUT_ROLLOVER}).Draw(t, "mode"),
		flags: rapid.SampledFrom([]uint8{0, 0, flagRollover, flagIgnoreOutgoing, flagDefrag, flagRollover | flagIgnoreOutgoing}).Draw(t, "flags"),
		max:   -1,
	}
	proto := protocols.Draw(t, "protocol")
	index := rapid.SampledFrom([]int{tapIndex, tapIndex, tunIndex, loIndex, 0}).Draw(t, "index")
	for s := range rapid.IntRange(2, maxSockets).Draw(t, "members") {
		typ := rapid.SampledFrom([]int{unix.SOCK_RAW, unix.SOCK_RAW, unix.SOCK_DGRAM}).Draw(t, "type")
		frames := rapid.Uint32Range(1, 3).Draw(t, "frames")
		sc = append(sc,
			socket{s, typ, 0},
			set{s, unix.SOL_PACKET, unix.PACKET_RX_RING, req{4096, frames, 4096, frames}},
			mmap{s},
			bind{s, sll{unix.AF_PACKET, index, proto}},
			set{s, unix.SOL_PACKET, unix.PACKET_FANOUT, v})
	}
	if v.mode == unix.PACKET_FANOUT_CBPF {
		sc = append(sc, drawFanoutProgram(t, 0))
	}
	return sc
}

// drawTimed is the life of a V3 ring whose timer fires while the script runs.
func drawTimed(t *rapid.T) script {
	const s, tov = 2, 20         // milliseconds
	wait := expire{tov * 18 / 5} // no whole number of times: packets must not come when the timer fires
	sc := script{
		open(s),
		version(s, 2),
		rxRing(s, req3{req{4096, rapid.Uint32Range(1, 3).Draw(t, "blocks"), 512, 0}.full(), tov, 0, 0}),
		mmap{s},
		wait,
	}
	for range rapid.IntRange(1, 4).Draw(t, "rounds") {
		sc = append(sc, drawTraffic(t)...)
		if rapid.Bool().Draw(t, "hand back") {
			sc = append(sc, drawHandBack(t, s))
		}
		sc = append(sc, wait)
	}
	return append(sc, statistics(s, 12), closeSocket{s})
}

func drawDevice(t *rapid.T) script {
	dev := rapid.SampledFrom([]string{tap0, tap0, tap0, tun0}).Draw(t, "device")
	return script{device{dev, rapid.SampledFrom([]change{comesUp, comesUp, goesDown, goesDown, goesDown, comesBack, goesAway}).Draw(t, "change")}}
}

// drawClosing takes a ring away as a program does.
func drawClosing(t *rapid.T) script {
	s := drawSocket(t)
	ring := rapid.SampledFrom([]int{unix.PACKET_RX_RING, unix.PACKET_TX_RING}).Draw(t, "ring")
	return script{munmap{s}, set{s, unix.SOL_PACKET, ring, req3{}}}
}

func drawHandBack(t *rapid.T, s int) op {
	return handBack{s, rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, "frames")}
}

func drawRecv(t *rapid.T, s int) op {
	return recv{
		s,
		rapid.SampledFrom([]int{10000, 100, 14, 10, 1, 0}).Draw(t, "room"),
		rapid.SampledFrom([]int{0, 0, unix.MSG_TRUNC, unix.MSG_PEEK, unix.MSG_PEEK | unix.MSG_TRUNC, unix.MSG_DONTWAIT, unix.MSG_OOB, unix.MSG_ERRQUEUE, unix.MSG_WAITALL}).Draw(t, "flags"),
		rapid.SampledFrom([]int{0, 200, 200, 16, 36, 40, 32, 17}).Draw(t, "control"),
	}
}

// drawRead is a read that ends when there is no packet.
func drawRead(t *rapid.T, s int) op {
	return read{
		s,
		rapid.SampledFrom([]int{10000, 10000, 100, 14, 1, 0}).Draw(t, "room"),
		rapid.SampledFrom([]int{unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW}).Draw(t, "generation"),
		rapid.SampledFrom([]int{4, 8, 20}).Draw(t, "milliseconds"),
	}
}

// drawBindToDevice sets SO_BINDTODEVICE or SO_BINDTOIFINDEX, and reads both.
func drawBindToDevice(t *rapid.T) script {
	s := drawSocket(t)
	o := set{s, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, nil}
	if rapid.Bool().Draw(t, "by index") {
		o.name, o.val = unix.SO_BINDTOIFINDEX, i32(rapid.SampledFrom([]int32{tapIndex, tapIndex, tunIndex, nextIndex, 0, -1}).Draw(t, "index"))
	} else {
		o.val = deviceNames.Draw(t, "name")
	}
	return script{
		o,
		get{s, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, room(rapid.SampledFrom([]int{16, 16, 20, 15, 0}).Draw(t, "room"))},
		get{s, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, room(4)},
	}
}

func drawStore(t *rapid.T, s int) op {
	return store{s, rapid.Uint32Range(0, 5).Draw(t, "frame"),
		rapid.SampledFrom([]uint32{tpacket.StatusKernel, tpacket.StatusUser, 2, 1 << 31}).Draw(t, "status")}
}

func drawBind(t *rapid.T, s int) op {
	v := sll{unix.AF_PACKET,
		rapid.SampledFrom([]int{tapIndex, tapIndex, tapIndex, tunIndex, loIndex, 0, nextIndex, -1}).Draw(t, "index"),
		protocols.Draw(t, "protocol"),
	}
	switch rapid.IntRange(0, 15).Draw(t, "fault") {
	case 13:
		v.family = rapid.SampledFrom([]int{0, unix.AF_INET, 16, 18}).Draw(t, "family")
	case 14:
		return bind{s, raw(v.bytes()[:rapid.IntRange(0, 19).Draw(t, "short")])}
	case 15:
		return bind{s, raw(append(v.bytes(), make([]byte, rapid.IntRange(1, 108).Draw(t, "more"))...))}
	}
	return bind{s, v}
}

func drawSet(t *rapid.T, s int) op {
	o := pick(t, "option", options)
	if o.set == nil {
		return set{s, o.level, o.number, ints(0, 1).Draw(t, "value")}
	}
	return set{s, o.level, o.number, o.set.Draw(t, "value")}
}

func drawGet(t *rapid.T, s int) op {
	o := pick(t, "option", options)
	if o.args != nil {
		return get{s, o.level, o.number, o.args.Draw(t, "room")}
	}
	return get{s, o.level, o.number, room(rapid.SampledFrom([]int{4, 8, 16, 0, 1, 3, 5, 12, 20}).Draw(t, "room"))}
}

func drawTraffic(t *rapid.T) script {
	dev := rapid.SampledFrom([]string{tap0, tap0, tap0, tun0}).Draw(t, "device")
	p := drawPacket(t, dev)
	times := rapid.SampledFrom([]int{1, 1, 1, 2, 5, 40}).Draw(t, "times")
	if rapid.IntRange(0, 2).Draw(t, "direction") == 2 {
		return script{leave{dev, p, times, rapid.SampledFrom([]delivery{whole, inPieces, inBatches}).Draw(t, "how")}}
	}
	how := rapid.SampledFrom([]delivery{whole, inPieces, inBatches, tagsBeside}).Draw(t, "how")
	if how == tagsBeside && p.n < 2 {
		how = whole // the kernel drops a frame that ends so soon behind its tag
	}
	return script{arrive{dev, p, times, how}}
}

func drawPacket(t *rapid.T, dev string) (p packet) {
	p.n = rapid.SampledFrom([]int{60, 46, 200, 1000, 1486, 4000, 8986}).Draw(t, "length")
	p.proto = rapid.SampledFrom([]uint16{unix.ETH_P_IP, unix.ETH_P_IPV6}).Draw(t, "protocol")
	if rapid.IntRange(0, 4).Draw(t, "offloads") == 4 {
		p.drawOffload(t, dev)
	}
	if dev == tun0 {
		return p
	}
	p.to = rapid.SampledFrom([]destination{toUs, toUs, toAll, toGroup, toOther}).Draw(t, "to")
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 5:
		p.tag = rapid.SampledFrom([]uint32{unix.ETH_P_8021Q, unix.ETH_P_8021AD}).Draw(t, "tpid")<<16 |
			rapid.SampledFrom([]uint32{0, 5, 0x6064, 0xffff}).Draw(t, "tci")
		if p.load != (offload{}) {
			if p.load.hdrLen > 0 {
				p.load.hdrLen += 4
			}
			return p
		}
		p.n = rapid.SampledFrom([]int{60, 46, 0, 1, 2, 3, 1486}).Draw(t, "tagged length")
		p.proto = rapid.SampledFrom([]uint16{unix.ETH_P_IP, unix.ETH_P_8021Q, unix.ETH_P_8021AD, 0x88b5, 10}).Draw(t, "inner ethertype")
	case 6: // any EtherType, any length
		p.load = offload{}
		p.proto = rapid.SampledFrom([]uint16{0x88b5, unix.ETH_P_ARP, 0xffff, 0x600, 0x5ff, 10, 0}).Draw(t, "ethertype")
		p.n = rapid.IntRange(0, 100).Draw(t, "odd length")
	}
	return p
}

// drawOffload draws what is left to be done to the packet.
func (p *packet) drawOffload(t *rapid.T, dev string) {
	p.n = max(p.n, 60)
	headers := uint16(20)
	if p.proto == unix.ETH_P_IPV6 {
		headers = 40
	}
	if dev == tap0 {
		headers += 14
	}
	gso := func(typ uint8, transport uint16) {
		p.n = rapid.SampledFrom([]int{1000, 3000, 6000, 20000}).Draw(t, "segments' length")
		p.load = offload{needsCsum, typ, headers + transport, uint16(rapid.SampledFrom([]int{200, 500}).Draw(t, "segment"))}
	}
	switch rapid.IntRange(0, 3).Draw(t, "offload") { // a TAP has no way to say that a checksum is good
	case 0:
		p.load.flags = needsCsum
	case 1:
		if p.proto == unix.ETH_P_IPV6 {
			gso(gsoTCPv6, 20)
		} else {
			gso(gsoTCPv4, 20)
		}
	case 2:
		if p.proto == unix.ETH_P_IP {
			gso(gsoTCPv4|gsoECN, 20)
		}
	case 3:
		if p.proto == unix.ETH_P_IP {
			gso(gsoUDPL4, 8)
		}
	}
}
