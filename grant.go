package rxring

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
)

// Grant limits what a socket used by another process may see and do. The zero value allows
// everything, but a socket with a Grant, even that one, has no CAP_NET_ADMIN: SO_RCVBUFFORCE
// and SO_SNDBUFFORCE are EPERM.
//
// A Grant limits packets, not their metadata: true length and time, the sockaddr_ll, a tag
// beside the frame, the vnet header and the ancillary data that filters load are available for
// each packet that the socket receives.
type Grant struct {
	// Devices reports whether the socket may use a device; nil: all. Others do not exist
	// for it: ENODEV, and a socket bound to all devices receives nothing from them. It is
	// called when a device is added and when the grant is set, must return the same
	// result each time, and must not call methods of the namespace or of its sockets.
	Devices func(*Device) bool

	// Filter runs before the socket's own filter: packets must pass both. nil: none. On
	// sockets of either type its offsets are relative to the link-layer header, and it
	// sees the whole packet, with any VLAN tag. The socket receives at most the number of
	// bytes that it returns, as with Snaplen. A packet that it refuses was not offered to
	// the socket and appears in no count.
	//
	// On a raw-IP device offsets are relative to the network header, the only one: a
	// filter for devices of several types must check the type (SKF_AD_HATYPE).
	Filter []cbpf.Instruction

	// Snaplen is how many bytes of each packet the socket may see, link-layer header
	// included; 0: all. The socket's filter sees no more. The flow hash of a truncated
	// packet is that of the remaining bytes.
	Snaplen int

	NoSend bool // the socket may not send: EPERM, for transmit rings, too

	// NoPromiscuous: memberships that make a card accept packets to other hosts succeed
	// without effect (PACKET_MR_PROMISC and unicast addresses). The device does not count
	// them.
	NoPromiscuous bool

	// Budget limits the memory of all sockets that have it; nil: only the namespace's
	// limit applies.
	Budget *Budget

	// Account limits the writers' time and the memberships of all sockets that have it;
	// nil: no limit.
	Account *Account

	// Scope separates fanout groups: a socket joins only groups of its own scope. Sockets
	// without a grant are in scope 0.
	Scope uint32
}

// granted is a validated grant. nil is no grant and allows everything.
type granted struct {
	Grant
	filter  *cbpf.Filter            // of Filter
	snaplen uint32                  // MaxUint32: all
	devices atomic.Pointer[[]int32] // indexes of the allowed devices, sorted; nil: all. Written with Namespace.mu held
}

func newGranted(g *Grant) (*granted, error) {
	if g == nil {
		return nil, nil
	}
	out := &granted{Grant: *g, snaplen: math.MaxUint32}
	if g.Devices != nil {
		out.devices.Store(new([]int32)) // none until resolveDevicesLocked
	}
	switch {
	case g.Snaplen < 0:
		return nil, explain.Errorf(syscall.EINVAL, "snaplen %d: want at least 0", g.Snaplen)
	case g.Snaplen > 0:
		out.snaplen = uint32(min(g.Snaplen, math.MaxUint32))
	}
	if g.Filter != nil {
		var err error
		if out.filter, err = cbpf.Compile(g.Filter); err != nil {
			return nil, fmt.Errorf("mandatory filter: %w", err)
		}
		out.Filter = slices.Clone(g.Filter)
	}
	return out, nil
}

// restrictsDevices reports whether there may be devices that the socket may not use.
func (g *granted) restrictsDevices() bool { return g != nil && g.Devices != nil }

// resolveGrantLocked evaluates Grant.Devices for a socket that is new or has a new grant.
func (s *Socket) resolveGrantLocked() {
	if !s.grant.restrictsDevices() {
		delete(s.ns.restricted, s)
		return
	}
	s.ns.restricted[s] = struct{}{}
	s.grant.resolveDevicesLocked(s.ns.devices.list())
}

// resolveDevicesLocked evaluates Devices. It must be called with Namespace.mu held.
func (g *granted) resolveDevicesLocked(devices []*Device) {
	seen := make([]int32, 0, len(devices)+len(devices)/4) // room for devices that are added
	for _, d := range devices {
		if g.Devices(d) {
			seen = append(seen, int32(d.index))
		}
	}
	g.devices.Store(&seen)
}

// addDeviceLocked evaluates Devices for d, which was added to the table. It must be called with
// Namespace.mu held.
func (g *granted) addDeviceLocked(d *Device, devices *deviceTable) {
	seen := *g.devices.Load()
	n := len(seen)
	switch {
	case n > 2*len(devices.byIndex)+64, n > 0 && seen[n-1] >= int32(d.index):
		g.resolveDevicesLocked(devices.list()) // most were removed, or it is not the last by index
	case g.Devices(d):
		seen = append(seen, int32(d.index)) // past the published slice, which does not change
		g.devices.Store(&seen)
	}
}

// allowsDevice reports whether the socket may use the device with that index.
func (g *granted) allowsDevice(index int32) bool {
	if g == nil {
		return true
	}
	seen := g.devices.Load()
	if seen == nil {
		return true
	}
	_, ok := slices.BinarySearch(*seen, index)
	return ok
}

// limitsBytes reports whether there are bytes of packets that the socket may not see.
func (g *granted) limitsBytes() bool { return g != nil && (g.Filter != nil || g.Snaplen > 0) }

// limitsDelivery reports whether there are packets, or bytes of packets, that the socket may
// not see.
func (g *granted) limitsDelivery() bool { return g.limitsBytes() || g != nil && g.Devices != nil }

// visibleBytes returns how many bytes of the packet, link-layer header included, the socket
// may see; 0: it does not receive the packet.
func (g *granted) visibleBytes(p *Packet, meta *packetMeta) (seen uint32) {
	if !g.allowsDevice(meta.from.Ifindex) {
		return 0 // revoked while the packet was being delivered
	}
	seen = min(meta.capLen, g.snaplen)
	if g.filter == nil {
		return seen
	}
	if meta.strippedVLAN.TPID == 0 {
		return min(seen, meta.runFilter(g.filter, p, 0))
	}
	q := *p
	q.VLAN = meta.strippedVLAN
	return min(seen, meta.runFilter(g.filter, &q, 0))
}

// truncate hides all but the first n bytes of the packet. The socket skips its first skip bytes,
// so the metadata counts at least those. It keeps the true length. Rest is left to
// truncatePieces.
func truncate(p *Packet, meta *packetMeta, n, skip uint32) {
	meta.capLen = max(n, skip)
	p.Hash = 0 // it covered bytes that are no longer there
	p.Data = p.Data[:min(int(n), len(p.Data))]
}

// truncatedPieces are the pieces of a truncated packet after the first, in an array, which avoids
// an allocation.
type truncatedPieces struct {
	array [16][]byte
	n     int
}

// truncatePieces returns the first n bytes of pieces.
func truncatePieces(pieces [][]byte, n int) (t truncatedPieces) {
	for i, piece := range pieces {
		if n == 0 {
			break
		}
		if t.n == len(t.array)-1 {
			piece = concat(piece, pieces[i+1:])
		}
		piece = piece[:min(n, len(piece))]
		t.array[t.n] = piece
		t.n++
		n -= len(piece)
	}
	return t
}

// receiveGranted is receiveOne for a socket with a grant or an account: bytes outside the
// grant are truncated before filters and copies run.
func (s *Socket) receiveGranted(rx *rxOptions, p *Packet, meta *packetMeta) (wake bool) {
	if rx.grant != nil {
		switch seen := rx.grant.visibleBytes(p, meta); {
		case seen == 0:
			return false
		case seen < meta.capLen && len(p.Rest) == 0:
			return s.receiveTruncated(rx, p, meta, seen)
		case seen < meta.capLen:
			return s.receiveTruncatedPieces(rx, p, meta, seen)
		}
	}
	return s.receiveVisible(rx, p, meta)
}

// receiveTruncated is receiveGranted for a packet in one piece of which seen bytes are visible.
//
//go:noinline
func (s *Socket) receiveTruncated(rx *rxOptions, p *Packet, meta *packetMeta, seen uint32) (wake bool) {
	q, m := *p, *meta
	truncate(&q, &m, seen, rx.skipLen(meta))
	wake = s.receiveVisible(rx, &q, &m)
	meta.timestamp = m.timestamp // one reading for all sockets
	return wake
}

// receiveTruncatedPieces is receiveTruncated for a packet in several pieces.
//
//go:noinline
func (s *Socket) receiveTruncatedPieces(rx *rxOptions, p *Packet, meta *packetMeta, seen uint32) (wake bool) {
	q, m := *p, *meta
	truncate(&q, &m, seen, rx.skipLen(meta))
	rest := truncatePieces(p.Rest, int(seen)-len(q.Data))
	q.Rest = rest.array[:rest.n]
	wake = s.receiveVisible(rx, &q, &m)
	meta.timestamp = m.timestamp
	return wake
}

// receiveVisible is receiveGranted for a packet without hidden bytes.
func (s *Socket) receiveVisible(rx *rxOptions, p *Packet, meta *packetMeta) (wake bool) {
	if rx.account != nil {
		return s.receiveMetered(rx, p, meta)
	}
	return s.receiveOne(rx.unrestricted, p, meta)
}

// receiveBatchGranted is receiveBatch for a socket with a grant or an account. If the grant
// hides anything, packets are received one by one.
func (s *Socket) receiveBatchGranted(rx *rxOptions, b *measuredBatch, mask batchMask) {
	if rx.grant == nil {
		s.receiveBatchMetered(rx, b, mask)
		return
	}
	wake := false
	for ; mask != 0; mask = mask.rest() {
		p, meta := &b.packets[mask.first()], &b.metas[mask.first()]
		if meta.length != 0 && s.wants(p, meta) {
			wake = s.receiveGranted(rx, p, meta) || wake
		}
	}
	if wake {
		s.notify.FenceAndWake()
	}
}

// SocketFor is Socket under a grant; nil: none. EINVAL for a Filter that Linux would refuse,
// or a negative Snaplen.
func (ns *Namespace) SocketFor(g *Grant, t SockType, protocol uint16) (*Socket, error) {
	if t != SockRaw && t != SockDgram {
		return nil, explain.Errorf(syscall.Errno(esocktnosupport), "socket type %d: want SOCK_RAW (%d) or SOCK_DGRAM (%d)", t, SockRaw, SockDgram)
	}
	gr, err := newGranted(g)
	if err != nil {
		return nil, err
	}
	s := &Socket{ns: ns, typ: t, grant: gr, flags: make(map[option]int32)}
	s.queue.limit.Store(rcvbufDefault)
	s.rx.Store(&rxOptions{})
	s.publishLocked()
	s.protocol.Store(uint32(protocol))
	if protocol != 0 {
		ns.mark(0)
	}
	ns.addSocket(s)
	return s, nil
}

// SetGrant replaces the socket's grant for every packet delivered from now on; nil removes it.
// It fails as SocketFor does, and then changes nothing.
//
// A device that is no longer granted looks to the socket like one that was removed: its
// memberships there are dropped, and a socket bound to it is bound to index -1, with ENETDOWN
// pending. The socket stays in its fanout group. It keeps its own filter, received packets,
// and its rings, which stay charged to the budgets they were charged to.
func (s *Socket) SetGrant(g *Grant) error {
	gr, err := newGranted(g)
	return s.do("set grant", func() error {
		if err != nil {
			return err
		}
		s.setGrantLocked(gr)
		return nil
	})
}

// setGrantLocked replaces the socket's grant with g.
func (s *Socket) setGrantLocked(g *granted) {
	ns := s.ns
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if s.group != nil && s.running {
		s.group.countGrantLocked(s.grant, -1)
		s.group.countGrantLocked(g, 1)
	}
	s.grant = g
	s.resolveGrantLocked()
	s.publishLocked() // before the taps: no device delivers by what was granted before
	ns.flushMembershipsLocked(s, func(d *Device) bool { return !g.allowsDevice(int32(d.index)) })
	for i := range s.memberships {
		if j := &s.memberships[i]; j.setCountedLocked(g.allowsMembership(&j.membership)) {
			j.device.publishRxFilterLocked()
		}
	}
	if d := s.device; d != nil && !g.allowsDevice(int32(d.index)) {
		if s.running {
			ns.setRunningLocked(s, false)
			s.setError(syscall.ENETDOWN)
		}
		s.setDeviceLocked(nil)
		s.ifindex.Store(-1)
	}
	if s.group != nil {
		s.group.publishGrantLocked()
	}
	if s.running {
		ns.updateTapLocked(tap{}, s.tapLocked(), true)
	}
}

// needsNetAdmin wraps an option that requires CAP_NET_ADMIN.
func needsNetAdmin(check func(*Socket, int32) (int32, error)) func(*Socket, int32) (int32, error) {
	return func(s *Socket, v int32) (int32, error) {
		if s.grant != nil {
			return 0, explain.Errorf(syscall.EPERM, "%d: only the namespace's owner may exceed the maximum size", v)
		}
		return check(s, v)
	}
}

var errNoSend = explain.Errorf(syscall.EPERM, "the socket's grant does not allow sending")

// allowsMembership reports whether the membership takes effect at the device.
func (g *granted) allowsMembership(m *membership) bool {
	if g == nil || !g.NoPromiscuous {
		return true
	}
	return m.typ == mrAllmulti || m.typ != mrPromisc && m.addr[0]&1 != 0
}

// account returns the account that the grant's sockets share, nil if there is none.
func (g *granted) account() *Account {
	if g == nil {
		return nil
	}
	return g.Account
}

// budgetLocked returns the budget that the socket's memory is charged to; nil means unlimited.
func (s *Socket) budgetLocked() *Budget {
	if s.grant == nil {
		return nil
	}
	return s.grant.Budget
}
