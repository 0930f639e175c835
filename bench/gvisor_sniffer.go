package bench

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/link/sniffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// gvisorSniffer is the capture that programs around gVisor's stack offer: each
// packet is written in pcap format to a pipe. Nothing is dropped: a writer
// waits while the pipe is full. The far end only counts.
//
// The sniffer leaves the link-layer header out: 14 bytes of each packet are not
// copied, and are added here to what arrives.
type gvisorSniffer struct {
	ep          *sniffer.Endpoint
	packet      *stack.PacketBuffer
	r, w        *os.File
	sent        uint64
	read, bytes atomic.Uint64
	done        chan struct{}
}

// snapLen is tcpdump's default.
const snapLen = 262144

func openGvisorSniffer(size int) (session, error) {
	sniffer.LogPackets.Store(0) // as those programs do: no line of text a packet
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &gvisorSniffer{packet: gvisorPacket(size), r: r, w: w, done: make(chan struct{})}
	go s.readOn()
	if s.ep, err = sniffer.NewWithWriter(loopback.New(), w, snapLen); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// readOn steps from one pcap record to the next.
func (s *gvisorSniffer) readOn() {
	defer close(s.done)
	b := bufio.NewReaderSize(s.r, 128<<10)
	if _, err := b.Discard(24); err != nil { // the file's header
		return
	}
	var record [16]byte
	for {
		if _, err := io.ReadFull(b, record[:]); err != nil {
			return
		}
		n := binary.LittleEndian.Uint32(record[8:])
		if _, err := b.Discard(int(n)); err != nil {
			return
		}
		s.bytes.Add(uint64(n) + macLen)
		s.read.Add(1)
	}
}

func (s *gvisorSniffer) send(n int) {
	for range n {
		s.ep.DumpPacket(sniffer.DirectionRecv, header.IPv4ProtocolNumber, s.packet, nil)
	}
	s.sent += uint64(n)
}

func (s *gvisorSniffer) empty() {}

func (s *gvisorSniffer) settle() (tally, error) {
	err := waitFor(func() bool { return s.read.Load() == s.sent })
	return tally{accepted: s.sent, read: s.read.Load(), bytes: s.bytes.Load()}, err
}

func (s *gvisorSniffer) close() error {
	err := s.w.Close()
	<-s.done
	s.packet.DecRef()
	if err2 := s.r.Close(); err == nil {
		err = err2
	}
	return err
}
