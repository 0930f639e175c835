package cbpf

import "github.com/rxring/rxring/internal/dissect"

// IP protocols (linux/in.h) whose headers a payload follows.
const (
	ipICMP    = 1
	ipIGMP    = 2
	ipTCP     = 6
	ipUDP     = 17
	ipDCCP    = 33
	ipICMPv6  = 58
	ipSCTP    = 132
	ipUDPLite = 136
)

// transportHeader has the header lengths in bytes of protocols with a fixed one.
var transportHeader = [256]uint8{
	ipUDP: 8, ipUDPLite: 8, ipICMP: 8, ipICMPv6: 8, ipIGMP: 8, ipDCCP: 12, ipSCTP: 12,
}

// payloadOffset returns the value of SKF_AD_PAY_OFFSET: the distance in bytes from the
// program's offset 0 to the transport payload, as far as package dissect can parse the
// headers; 0 if they are malformed or truncated.
func (p *Packet) payloadOffset() uint32 {
	var f dissect.Flow
	dissect.Walk(&dissect.Packet{
		Data: p.Data, Rest: p.Rest, NetOff: int(p.NetOff), Protocol: p.Protocol, Tagged: p.VLANPresent,
	}, &f)
	if !f.Whole {
		return 0
	}
	off := uint32(uint16(f.Pos - int(p.Start))) // 16 bits in struct flow_dissector_key_control
	if f.Later {
		return off
	}
	if f.Transport != ipTCP {
		return off + uint32(transportHeader[f.Transport])
	}
	words, ok := p.at(uint64(p.Start)+uint64(off)+12, 1)
	if !ok {
		return off
	}
	return off + max(20, words>>4*4)
}
