package dump

import "github.com/rxring/rxring/cmd/rxring/internal/line/linetest"

var (
	frame   = linetest.Frame
	ether   = linetest.Ether
	ip4     = linetest.IP4
	vlan    = linetest.VLAN
	payload = linetest.Payload
	peer    = linetest.Peer
)
