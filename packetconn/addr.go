package packetconn

import (
	"net"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// network is the Network of all addresses, as in github.com/mdlayher/packet.
const network = "packet"

// Addr is a hardware address, of the sender or the receiver of a packet.
type Addr struct{ HardwareAddr net.HardwareAddr }

// Network returns "packet".
func (*Addr) Network() string { return network }

// String returns the hardware address.
func (a *Addr) String() string { return a.HardwareAddr.String() }

// hardwareAddr returns the hardware address of an Addr, or of another type whose String is one,
// such as that of github.com/mdlayher/packet.
func hardwareAddr(a net.Addr) (net.HardwareAddr, error) {
	if a, ok := a.(*Addr); ok {
		return a.HardwareAddr, nil
	}
	hw, err := net.ParseMAC(a.String())
	if err != nil {
		return nil, explain.Errorf(syscall.EINVAL, "address %v of type %T: want a *packetconn.Addr, or another whose String is a hardware address", a, a)
	}
	return hw, nil
}

// sockaddr returns the sockaddr_ll of a receiver, nil if a is nil.
func (c *Conn) sockaddr(a net.Addr) (*tpacket.SockaddrLL, error) {
	if a == nil {
		return nil, nil
	}
	hw, err := hardwareAddr(a)
	if err != nil {
		return nil, err
	}
	to := &tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: c.ifindex, Protocol: tpacket.Htons(c.protocol), Halen: uint8(len(hw))}
	if copy(to.Addr[:], hw) < len(hw) {
		return nil, explain.Errorf(syscall.EINVAL, "address %v of %d bytes: want at most %d", hw, len(hw), len(to.Addr))
	}
	return to, nil
}
