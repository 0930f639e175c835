package rxring

import "github.com/rxring/rxring/tpacket"

// Charge charges the account's sockets for time of the device's writers.
func (a *Account) Charge(d *Device, nanoseconds int64) {
	a.shareOf(d.ns, int32(d.index)).ChargeExactly(nanoseconds)
}

// Forgive cancels what the account's sockets have used on the device.
func (a *Account) Forgive(d *Device) { a.shareOf(d.ns, int32(d.index)).Forgive() }

// Shares returns of how many devices the account has a share.
func (a *Account) Shares() (n int) {
	for range a.shares.Range {
		n++
	}
	return n
}

// Untag takes n VLAN tags out of the packet's frame.
func Untag(p *Packet, n int) (Packet, bool) {
	q, first, more, ok := untag(p, n, make([]byte, untagHead))
	rest, pieces := pieces(first, more)
	q.Rest = rest[:pieces]
	return q, ok
}

// FlowHashes returns the packet's flow hash, and the hash without the short way of common packets.
func FlowHashes(d *Device, p *Packet) (hash, walked uint32) {
	var meta packetMeta
	if meta.measure(d, p) == malformed {
		return 0, 0
	}
	return flowHash(p, &meta), hashWalked(p, &meta)
}

// Offsets returns where the socket places the headers of a packet with maclen bytes of link-layer
// header that it sees.
func (s *Socket) Offsets(maclen uint32) tpacket.Offsets { return s.rx.Load().offsets(maclen) }
