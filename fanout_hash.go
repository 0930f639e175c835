package rxring

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"github.com/rxring/rxring/internal/dissect"
)

// flowSeed is drawn anew in each process, as Linux draws one at boot: nobody can
// make flows that all meet at one member.
var flowSeed = maphash.MakeSeed()

// flowHash is the same for all packets of a flow, both ways: what Linux's
// __skb_get_hash_symmetric is (net/core/flow_dissector.c), with other values.
func flowHash(p *Packet, a *arrival) uint32 {
	var f dissect.Flow
	dissect.Walk(&dissect.Packet{
		Data: p.Data, Rest: p.Rest, NetOff: int(a.maclen), Protocol: a.protocol, Tagged: p.VLAN.TPID != 0,
	}, &f)
	// Addresses and ports in an order of their own each, as Linux has it: A's
	// port 1 to B's port 2 is the same flow as A's port 2 to B's port 1.
	src, dst := f.Src[:f.AddrLen], f.Dst[:f.AddrLen]
	if bytes.Compare(src, dst) > 0 {
		src, dst = dst, src
	}
	low, high := f.Ports>>16, f.Ports&0xffff
	if low > high {
		low, high = high, low
	}
	var key [40]byte
	binary.LittleEndian.PutUint64(key[:], uint64(low)|uint64(high)<<16|uint64(f.Ether)<<32|uint64(f.Transport)<<48)
	n := 8
	n += copy(key[n:], src)
	n += copy(key[n:], dst)
	return uint32(maphash.Bytes(flowSeed, key[:n]))
}
