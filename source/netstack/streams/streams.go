package streams

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
)

// MaxFlows is the largest number of flows of one Source.
const MaxFlows = 256

// NoFlows, for [Config].Flows, starts no flow: the device carries only what packet sockets send
// and the answers.
const NoFlows = -1

const defaultFlows = 4

// MTUs that gVisor's IPv4 and TCP work with.
const minMTU, maxMTU = 576, 65535

// The stacks' addresses are of TEST-NET-1 (RFC 5737); the port is netperf's.
var (
	localAddr  = tcpip.AddrFrom4([4]byte{192, 0, 2, 1})
	remoteAddr = tcpip.AddrFrom4([4]byte{192, 0, 2, 2})
)

const remotePort = 12865

// LocalAddr is the address of the device's stack, for [rxring.DeviceConfig].Prefixes.
var LocalAddr = netip.PrefixFrom(netip.AddrFrom4(localAddr.As4()), prefixLen)

// prefixLen is the prefix length of both stacks' network.
const prefixLen = 24

// Config configures a Source. The zero value works.
type Config struct {
	// Flows is the number of TCP connections, each with a goroutine that
	// writes and one that reads: 1 to MaxFlows, or NoFlows; 0: 4. Flow i, counted from 0,
	// carries stream i of package payload.
	Flows int

	// Rate is how many large segments of payload each flow sends per second at most, about
	// 64 KiB each; 0: as many as it can. It must not be negative.
	Rate int
}

// Source is a running set of streams.
type Source struct {
	dev    *rxring.Device
	wanted *audience
	link   *link
	stacks []*stack.Stack

	stop     chan struct{}
	flows    sync.WaitGroup
	sockets  []*socket
	listener *socket
	received atomic.Uint64

	strangers atomic.Uint64 // bytes received on programs' connections

	mu     sync.Mutex
	err    error // of the first flow that failed
	closed bool
}

// Stats counts what crossed the device so far. Frames include their Ethernet
// headers; a large segment is one frame.
type Stats struct {
	SentFrames, SentBytes         uint64
	SentLarge                     uint64 // frames that stand for several packets (GSO)
	ReceivedFrames, ReceivedBytes uint64
	StreamBytes                   uint64 // payload that the receivers have read
	ProgramFrames                 uint64 // frames that packet sockets sent
}

// Start connects the flows and runs them until Close. They pause while no socket receives from the
// device, and use its OnInterestChange. The device must be an
// Ethernet device with an MTU of 576 to 65535 bytes; the streams are sent in segments
// if its MaxLen is more than that. Several goroutines at once deliver packets to it; only one
// Source at a time should feed a device.
//
// What packet sockets send through the device reaches the far stack, 192.0.2.2,
// whose answers are delivered. It accepts TCP connections on the port of the flows,
// 12865, and discards their data.
func Start(dev *rxring.Device, cfg Config) (*Source, error) {
	if dev == nil {
		return nil, errors.New("streams: no device")
	}
	if t := dev.Type(); t != rxring.Ethernet {
		return nil, fmt.Errorf("streams: device %s has hardware type %d: only Ethernet (%d) can carry the streams", dev.Name(), t, rxring.Ethernet)
	}
	flows := cfg.Flows
	switch {
	case flows == 0:
		flows = defaultFlows
	case flows == NoFlows:
		flows = 0
	case flows < 0 || flows > MaxFlows:
		return nil, fmt.Errorf("streams: %d flows: must be 1 to %d", flows, MaxFlows)
	}
	if cfg.Rate < 0 {
		return nil, fmt.Errorf("streams: rate of %d segments per second: must not be negative", cfg.Rate)
	}
	if mtu := dev.MTU(); mtu < minMTU || mtu > maxMTU {
		return nil, fmt.Errorf("streams: MTU of %d bytes: must be %d to %d", mtu, minMTU, maxMTU)
	}

	s := &Source{dev: dev, wanted: newAudience(dev), link: newLink(dev), stop: make(chan struct{})}
	dev.SetTransmit(s.link.transmit) // in place of the netstack.Endpoint's
	if err := s.connect(flows); err != nil {
		s.shutdown()
		return nil, fmt.Errorf("streams: %w", err)
	}
	for i := 0; i < flows; i++ {
		stream, sender, receiver := uint16(i), s.sockets[2*i], s.sockets[2*i+1]
		s.flows.Go(func() { s.fail(sender.send(stream, s.wanted, pacer{rate: cfg.Rate}, s.stop)) })
		s.flows.Go(func() { s.fail(receiver.receive(stream, &s.received, s.stop)) })
	}
	s.flows.Go(func() { s.serve(s.listener) })
	return s, nil
}

// connect creates the stacks and the flows' sockets: sender, receiver, sender...
func (s *Source) connect(flows int) error {
	for i, addr := range []tcpip.Address{localAddr, remoteAddr} {
		st, err := newStack(&s.link.cards[i], addr)
		if err != nil {
			return err
		}
		s.stacks = append(s.stacks, st)
	}
	remote := tcpip.FullAddress{NIC: nic, Addr: remoteAddr, Port: remotePort}
	l, err := listen(s.stacks[1], remote, max(flows, maxStrangers))
	if err != nil {
		return err
	}
	s.listener = l
	for range flows {
		sender, receiver, err := dial(s.stacks[0], l, remote)
		if err != nil {
			return err
		}
		s.sockets = append(s.sockets, sender, receiver)
	}
	return nil
}

// fail records the first error of a flow.
func (s *Source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// Close ends the streams. When it returns, all goroutines have ended and nothing more is
// delivered. It returns the error of the first flow that failed before. Closing again does
// nothing.
func (s *Source) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	close(s.stop)
	s.flows.Wait()
	s.shutdown()
	if s.err != nil {
		return fmt.Errorf("streams: %w", s.err)
	}
	return nil
}

// shutdown closes sockets, link and stacks, after the flows have ended.
func (s *Source) shutdown() {
	s.dev.SetTransmit(nil)
	s.wanted.close()
	for _, socket := range s.sockets {
		socket.reset()
	}
	if s.listener != nil {
		s.listener.reset()
	}
	s.link.close()
	for _, st := range s.stacks {
		st.Destroy()
	}
}

// Stats returns the counts so far. It may be called at any time, also after
// Close; the counts are not read at one instant.
func (s *Source) Stats() Stats {
	sent, received := &s.link.cards[0], &s.link.cards[1]
	return Stats{
		SentFrames:     sent.packets.Load(),
		SentBytes:      sent.bytes.Load(),
		SentLarge:      sent.gso.Load(),
		ReceivedFrames: received.packets.Load(),
		ReceivedBytes:  received.bytes.Load(),
		StreamBytes:    s.received.Load(),
		ProgramFrames:  s.link.programs.Load(),
	}
}
