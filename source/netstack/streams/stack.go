package streams

import (
	"fmt"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const nic = 1

// segmentSize is the payload of the largest segment that gVisor sends (sendData
// in transport/tcp/snd.go). A write of exactly this size is sent whole; a larger one would be
// divided into a large and a small segment.
const segmentSize = MaxLen + 1 - header.TCPTotalHeaderMaximumSize - 1

const (
	// sendBuffer holds enough segments to keep a flow going while its writer
	// waits for a processor.
	sendBuffer = 8 * segmentSize

	// receiveBuffer: gVisor advertises half of it as window (rcvAdvWndScale).
	// With room for more than a send buffer the window never cuts a segment.
	receiveBuffer = 4 * sendBuffer

	// minTimeout is the minimum of TCP's retransmission timeout, after which gVisor starts
	// slowly. Its own 200 ms can pass on a busy machine without a loss.
	minTimeout = time.Second
)

// newStack returns a stack with one card and one address.
func newStack(c *card, addr tcpip.Address) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := configure(s, c, addr); err != nil {
		s.Destroy()
		return nil, err
	}
	return s, nil
}

func configure(s *stack.Stack, c *card, addr tcpip.Address) error {
	sendRange := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: sendBuffer, Max: sendBuffer}
	receiveRange := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: receiveBuffer, Max: receiveBuffer}
	// The link loses nothing and reorders nothing, but an acknowledgement can
	// wait for a processor for long. Loss detection by time (RACK and its tail
	// loss probe) takes that for a loss and cuts the segments down.
	var recovery tcpip.TCPRecovery
	timeout := tcpip.TCPMinRTOOption(minTimeout)
	for _, option := range []tcpip.SettableTransportProtocolOption{&sendRange, &receiveRange, &recovery, &timeout} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set %T: %v", option, err)
		}
	}
	if err := s.CreateNIC(nic, c); err != nil {
		return fmt.Errorf("create network card: %v", err)
	}
	network := tcpip.AddressWithPrefix{Address: addr, PrefixLen: prefixLen}
	err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: network}, stack.AddressProperties{})
	if err != nil {
		return fmt.Errorf("add address %v: %v", addr, err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: network.Subnet(), NIC: nic}})
	return nil
}
