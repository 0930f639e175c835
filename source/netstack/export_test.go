package netstack

import (
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
)

var TransmitTo = transmitTo

// Packet returns what is delivered of pkt.
func Packet(pkt *stack.PacketBuffer, outgoing bool) (p rxring.Packet) {
	pieces := appendPieces(nil, pkt)
	p.Data, p.Rest = pieces[0], pieces[1:]
	describe(&p, pkt, outgoing)
	return p
}
