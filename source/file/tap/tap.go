package tap

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
	"github.com/rxring/rxring/tpacket"
)

// Config configures a tap. The zero value captures whole packets, of which other hosts' are not
// requested.
type Config struct {
	Programs    [][]cbpf.Instruction // one of which accepts a packet in the form of files of the device's link type; nil: everything
	Snaplen     int                  // bytes of each packet, at most 262144; 0: all
	Socket      bool                 // Programs and Snaplen are for packets as a packet socket receives them
	Tags        bool                 // Programs read VLAN tags inside the frame, which in the ring are beside it
	Promiscuous bool                 // also packets to other hosts
	Buffer      int                  // size of the ring in bytes; 0: 4 MiB
	Retire      time.Duration        // as of [capture.Config]
	Grant       *rxring.Grant        // as of [capture.Config]

	// Open opens the capture; nil: [capture.OpenDevice].
	Open func(*rxring.Device, capture.Config) (*capture.Handle, error)
}

// maxWriterFilter is the most instructions of a filter that writers run for each packet, as for
// a source (rxring.Device.Filters).
const maxWriterFilter = 96

// Tap captures the packets of one device. One goroutine at a time may call Next; any goroutine
// may call the other methods.
type Tap struct {
	handle  *capture.Handle
	link    capfile.LinkType
	cooked  bool
	setting sync.Mutex // held by SetFilter
	socket  bool       // Config.Socket
	tags    bool       // Config.Tags
	rule    atomic.Pointer[rule]
	buffer  []byte
	read    atomic.Uint64 // packets from the ring
	refused atomic.Uint64 // of those, by all of rule.own
}

// rule is what Next does to packets.
type rule struct {
	own  []*cbpf.Filter // one of which accepts the packet; nil: all do
	snap int            // bytes of each packet
}

// Open opens a tap. A program that Linux would refuse is a [*cbpf.CheckError].
func Open(d *rxring.Device, c Config) (*Tap, error) {
	t := &Tap{socket: c.Socket, tags: c.Tags}
	t.link, t.cooked = linktype.OfDevice(d.Type())
	r, inRing, err := t.divide(c.Programs, c.Snaplen)
	if err != nil {
		return nil, err
	}
	t.rule.Store(&r)
	cfg := capture.Config{Buffer: c.Buffer, Retire: c.Retire, Filter: inRing, Cooked: t.cooked, Promiscuous: c.Promiscuous, Comments: true, IgnoreOutgoing: d.Type() == rxring.Loopback, Grant: c.Grant}
	open := c.Open
	if open == nil {
		open = capture.OpenDevice
	}
	if t.handle, err = open(d, cfg); err != nil {
		return nil, err
	}
	return t, nil
}

// MaxSnaplen is the largest snapshot length, tcpdump's default.
const MaxSnaplen = 262144

// divide returns what Next does, and the program that the writers run.
func (t *Tap) divide(programs [][]cbpf.Instruction, snaplen int) (r rule, inRing []cbpf.Instruction, err error) {
	if snaplen < 0 || snaplen > MaxSnaplen {
		return r, nil, fmt.Errorf("snaplen %d: want 1 to %d bytes, or 0 for whole packets", snaplen, MaxSnaplen)
	}
	r.snap = cmp.Or(snaplen, MaxSnaplen)
	filters, err := compile(programs)
	switch {
	case err != nil:
		return r, nil, err
	case len(programs) > 1 || len(programs) == 1 && !t.forWriters(programs[0]):
		r.own = filters // they are run on whole packets
		return r, nil, nil
	case len(programs) == 1:
		return r, cbpf.Truncated(programs[0], r.snap), nil
	case r.snap == MaxSnaplen:
		return r, nil, nil
	}
	return r, cbpf.Truncated(nil, r.snap), nil
}

// forWriters reports whether the writers may run a program.
func (t *Tap) forWriters(prog []cbpf.Instruction) bool {
	reshaped := t.cooked || t.link == linktype.CAN
	return (!reshaped || t.socket) && !t.tags && len(prog) <= maxWriterFilter && cbpf.Walks(prog) == 0
}

func compile(programs [][]cbpf.Instruction) (filters []*cbpf.Filter, err error) {
	for _, prog := range programs {
		f, err := cbpf.Compile(prog)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// SetFilter replaces the filter and the snapshot length, as in [Config]. The ring may still hold
// packets that the previous filter accepted; Next returns none that both refuse. After an error
// the previous ones stay.
func (t *Tap) SetFilter(programs [][]cbpf.Instruction, snaplen int) error {
	r, inRing, err := t.divide(programs, snaplen)
	if err != nil {
		return err
	}
	t.setting.Lock()
	defer t.setting.Unlock()
	before := t.rule.Load()
	if before.own != nil && programs != nil && r.own == nil { // no filter has run yet on what is in the ring
		if r.own, err = compile(programs); err != nil {
			return err
		}
		inRing = cbpf.Untruncated(programs[0]) // r.own runs on whole packets
	}
	if r.own != nil { // before the ring receives everything
		t.rule.Store(&r)
	}
	if err := t.handle.SetFilter(inRing); err != nil {
		t.rule.Store(before)
		return err
	}
	t.rule.Store(&r)
	return nil
}

// LinkType returns the link type of the packets.
func (t *Tap) LinkType() capfile.LinkType { return t.link }

// Snaplen returns how many bytes of each packet Next returns at most.
func (t *Tap) Snaplen() int {
	snap := t.rule.Load().snap
	if t.socket {
		snap = min(snap+mostAdded, MaxSnaplen)
	}
	return snap
}

// mostAdded is how many bytes the form of files has more at most: those of LINUX_SLL2's header.
const mostAdded = 20

// Ready reports whether Next has a packet without waiting.
func (t *Tap) Ready() bool { return t.handle.Ready() }

// SetDeadline makes Next return [os.ErrDeadlineExceeded] instead of waiting past d; the zero time
// means no deadline.
func (t *Tap) SetDeadline(d time.Time) error { return t.handle.SetDeadline(d) }

// Next waits for a packet. ok is false for one that the filter refuses. Errors are those of
// [capture.Handle.Next], such as ENETDOWN once when the device goes down. The packet's Interface
// is 0; its Data is valid until the next call.
func (t *Tap) Next(ctx context.Context) (p capfile.Packet, ok bool, err error) {
	f, err := t.handle.Next(ctx)
	if err != nil {
		return p, false, err
	}
	t.read.Add(1)
	t.buffer = linktype.AppendFrame(t.buffer[:0], t.link, t.cooked, f)
	p.Len = f.Len + len(t.buffer) - len(f.Data)
	keep, ok := t.accept(f, p.Len)
	if !ok {
		t.refused.Add(1)
		return p, false, nil
	}
	p.Data = t.buffer[:min(len(t.buffer), keep)]
	p.Timestamp = f.UnixNano()
	p.Comment = f.Comment()
	p.Direction = capfile.Inbound
	if f.From.Pkttype == tpacket.PacketOutgoing {
		p.Direction = capfile.Outbound
	}
	return p, true, nil
}

// accept returns how many bytes of the packet in buffer are kept.
func (t *Tap) accept(f *ring.Frame, length int) (keep int, ok bool) {
	r := t.rule.Load()
	keep, ok = r.snap, true
	if r.own != nil {
		p := t.packet(f, length)
		n := uint32(0)
		for _, f := range r.own {
			n = max(n, f.Run(&p))
		}
		keep, ok = min(keep, int(min(n, math.MaxInt32))), n > 0
	}
	if t.socket {
		keep = min(keep+length-f.Len, MaxSnaplen) // the form of files has more
	}
	return keep, ok
}

// packet returns the packet as a filter reads it.
func (t *Tap) packet(f *ring.Frame, length int) cbpf.Packet {
	p := cbpf.Packet{Data: t.buffer, Len: uint32(length), Ifindex: uint32(f.From.Ifindex), Protocol: tpacket.Htons(f.From.Protocol), Hatype: f.From.Hatype, PacketType: uint8(f.From.Pkttype)}
	if t.socket {
		p.Data, p.Len, p.NetOff = f.Data, uint32(f.Len), uint32(f.Net)
		if p.VLANPresent = f.Status&tpacket.StatusVLANValid != 0; p.VLANPresent {
			p.VLANTCI, p.VLANTPID = uint16(f.VLANTCI), linktype.TPID(f)
		}
	}
	return p
}

// Stats counts a tap's packets. Offered is the sum of Read, those in the ring, Dropped and Lost.
type Stats struct {
	Offered uint64 // accepted by the filter that the writers run
	Read    uint64 // returned by Next, including Refused
	Refused uint64 // by the filter that Next runs
	Dropped uint64 // the ring had no room
	Lost    uint64 // lost before the device
}

// Stats returns the counts. They are not read at one instant: a packet may be read that is not yet
// offered.
func (t *Tap) Stats() Stats {
	st, _ := t.handle.Stats() // with an error, the last known
	lost := min(st.Reasons[ring.Lost], st.Drops)
	return Stats{Offered: st.Packets, Read: t.read.Load(), Refused: t.refused.Load(), Dropped: st.Drops - lost, Lost: lost}
}

// Close ends the tap. Next returns [capture.ErrClosed].
func (t *Tap) Close() error {
	if err := t.handle.Close(); err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	return nil
}
