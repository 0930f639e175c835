package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// guest is the network stack of a machine, whose card is connected as QEMU's is: 4 bytes of
// length before each frame.
type guest struct {
	stack *stack.Stack
	addr  netip.Addr
}

func newGuest(ctx context.Context, conn net.Conn, mac tcpip.LinkAddress, addr netip.Addr) (*guest, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	card := channel.New(256, 1514, mac)
	if err := s.CreateNIC(1, ethernet.New(card)); err != nil {
		return nil, fmt.Errorf("create network card: %v", err)
	}
	network := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: 24}
	if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: network}, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("add address %v: %v", addr, err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: network.Subnet(), NIC: 1}})
	go send(ctx, conn, card)
	go receive(conn, card)
	return &guest{s, addr}, nil
}

// send writes what the card sends.
func send(ctx context.Context, conn net.Conn, card *channel.Endpoint) {
	for {
		pkt := card.ReadContext(ctx)
		if pkt == nil {
			return
		}
		frame := pkt.ToView().AsSlice()
		pkt.DecRef()
		if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
			return
		}
	}
}

// receive injects what is read into the card.
func receive(conn net.Conn, card *channel.Endpoint) {
	var length [4]byte
	for {
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
		card.InjectInbound(0, pkt)
		pkt.DecRef()
	}
}

const port = 7

// serve answers each connection with what it sends.
func (g *guest) serve() error {
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{Addr: tcpip.AddrFrom4(g.addr.As4()), Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	return nil
}

// greet exchanges a greeting with the guest at addr.
func (g *guest) greet(ctx context.Context, addr netip.Addr) error {
	conn, err := gonet.DialContextTCP(ctx, g.stack, tcpip.FullAddress{Addr: tcpip.AddrFrom4(addr.As4()), Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, "hello from", g.addr); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}
