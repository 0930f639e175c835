package capture

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// socket is a packet socket of the kernel or of a namespace. Both have the same options.
type socket interface {
	setsockopt(opt int, val []byte) error // SOL_PACKET
	getsockopt(opt int, val []byte) error // SOL_PACKET; fills val
	setFilter(prog []cbpf.Instruction) error
	bind(ifindex int, protocol uint16) error
	reader(g tpacket.Geometry) (*ring.Reader, error) // the ring must exist
	statistics() (tpacket.Stats3, error)             // since the last call
	drops() ring.Drops                               // so far; zero if reasons are not known
	close() error
}

// setUp creates the ring and binds the socket last, so that it receives only packets
// that match c.
func (h *Handle) setUp(ifindex int, c *Config) (err error) {
	s := h.socket
	h.ifindex = ifindex
	set := func(what string, opt int, val []byte) {
		if err == nil {
			if err = s.setsockopt(opt, val); err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
		}
	}
	v, r := c.version(), c.request()
	set(v.String(), tpacket.OptVersion, u32(uint32(v)))
	if c.IgnoreOutgoing {
		set("PACKET_IGNORE_OUTGOING", tpacket.OptIgnoreOutgoing, u32(1))
	}
	if c.Promiscuous && ifindex != 0 {
		set("promiscuous", tpacket.OptAddMembership, Membership{Type: Promiscuous}.mreq(ifindex))
	}
	if c.VnetHeader {
		set("PACKET_VNET_HDR", tpacket.OptVnetHdr, u32(1))
	}
	if c.Comments && err == nil { // the kernel and older servers have no such option, and no comments
		s.setsockopt(tpacket.OptComments, u32(1))
	}
	request := tpacket.Bytes(&r)
	if v != tpacket.V3 {
		request = tpacket.Bytes(&r.Req)
	}
	set(fmt.Sprintf("ring of %d blocks of %d bytes", r.BlockNr, r.BlockSize), tpacket.OptRxRing, request)
	if err != nil {
		return err
	}
	filter := cbpf.Truncated(c.Filter, c.Snaplen) // a filter truncates packets, too
	if c.Fanout != nil {
		filter = cbpf.Truncated(nil, 0) // a socket that is not yet a member gets packets that the group gets, too: drop them
	}
	if c.Filter != nil || c.Snaplen < maxSnaplen || c.Fanout != nil {
		if err := s.setFilter(filter); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	g, err := tpacket.Layout(v, r, 0, os.Getpagesize())
	if err != nil {
		return err
	}
	if h.reader, err = s.reader(g); err != nil {
		return err
	}
	if err := s.bind(ifindex, c.Protocol); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if f := c.Fanout; f != nil {
		val := u32(tpacket.FanoutArgs(f.ID, uint8(f.Mode), uint16(f.Flags)))
		set(fmt.Sprintf("fanout group %d", f.ID), tpacket.OptFanout, append(val, u32(f.MaxMembers)...))
		if err == nil {
			err = s.setFilter(cbpf.Truncated(c.Filter, c.Snaplen))
		}
	}
	return err
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
