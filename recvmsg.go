package rxring

import (
	"encoding/binary"
	"os"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// RecvFlags are the MSG_* flags of recvmsg(2), into it and out of it.
type RecvFlags uint32

const (
	MsgPeek     RecvFlags = 0x2        // MSG_PEEK: leave the packet in the queue
	MsgCtrunc   RecvFlags = 0x8        // MSG_CTRUNC, out: control messages were cut
	MsgTrunc    RecvFlags = 0x20       // MSG_TRUNC, in: count the packet's bytes, not those copied; out: it was cut
	MsgDontWait RecvFlags = 0x40       // MSG_DONTWAIT: Recv never waits anyway
	MsgErrQueue RecvFlags = 0x2000     // MSG_ERRQUEUE: that queue is always empty
	msgCompat   RecvFlags = 0x80000000 // MSG_CMSG_COMPAT, of 32-bit callers
)

// Message is the result of recvmsg, without the packet's bytes.
type Message struct {
	N      int       // what recvmsg returns: bytes copied or, with MsgTrunc, that there were
	Copied int       // bytes copied, the vnet header's included
	Flags  RecvFlags // MsgTrunc: not all were
	From   tpacket.SockaddrLL

	Auxdata   tpacket.Auxdata
	Timestamp int64  // nanoseconds since the epoch
	Mark      uint32 // skb->mark
	Priority  uint32 // skb->priority
	Dropped   uint32 // packets dropped before this one; 0 without SO_RXQ_OVFL

	control controls
}

// controls are the control messages that are wanted.
type controls struct {
	timestamp int  // SO_TIMESTAMP or another of its kind; 0: none
	dropped   bool // SO_RXQ_OVFL
	mark      bool // SO_RCVMARK
	priority  bool // SO_RCVPRIORITY
	auxdata   bool // PACKET_AUXDATA
}

// Recv removes a packet from the socket's queue and copies it to b, as recvmsg does. It never
// waits: EAGAIN if the queue is empty; [Socket.Arm] notifies of the next packet. A pending
// error is returned once, before any packet. If a vnet header was requested, EINVAL if b has
// no room for it or the header cannot express the packet's offloads; the packet is then lost,
// as in Linux.
//
// A socket without a ring queues all its packets; one with a ring queues whole copies of
// packets that a slot truncates, if PACKET_COPY_THRESH requests them. A copy's address has
// only the protocol.
func (s *Socket) Recv(b []byte, flags RecvFlags) (Message, error) { return s.recv(b, flags, true) }

// Peek is Recv with [MsgPeek] and [MsgTrunc], but that a pending error stays.
func (s *Socket) Peek(b []byte) (Message, error) { return s.recv(b, MsgPeek|MsgTrunc, false) }

func (s *Socket) recv(b []byte, flags RecvFlags, takesError bool) (Message, error) {
	const known = MsgPeek | MsgTrunc | MsgDontWait | MsgErrQueue | msgCompat
	fail := func(err error) (Message, error) { return Message{}, os.NewSyscallError("recvmsg", err) }
	s.mu.Lock()
	closed, vnetLen, control, ro := s.closed, int(s.vnetLen), s.controlsLocked(), s.rolloverState
	s.mu.Unlock()
	switch {
	case closed:
		return fail(ErrClosed)
	case flags&^known != 0:
		return fail(explain.Errorf(syscall.EINVAL, "flags %#x: want MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT, MSG_ERRQUEUE", uint32(flags)))
	case flags&MsgErrQueue != 0:
		return fail(syscall.EAGAIN)
	}
	if takesError {
		if err := s.sockError(); err != nil {
			return fail(err)
		}
	}
	m := s.queue.pop(s.ns, flags&MsgPeek != 0)
	if m == nil {
		return fail(syscall.EAGAIN)
	}
	if ro != nil {
		size := m.truesize // Linux checks before it frees the packet
		if flags&MsgPeek != 0 {
			size = 0 // it is still there
		}
		ro.tryClearPressure(s, size)
	}
	out := Message{From: m.from, Auxdata: s.auxdata(m), Timestamp: m.timestamp, Mark: m.mark, Priority: m.priority, Dropped: m.dropped, control: control}
	if vnetLen > 0 {
		if len(b) < vnetLen || !m.vnetKnown {
			return fail(explain.Errorf(syscall.EINVAL, "%d bytes for a vnet header of %d, GSO type %d", len(b), vnetLen, m.vnet[1]))
		}
		n := copy(b, m.vnet[:])
		clear(b[n:vnetLen])
		b = b[vnetLen:]
	}
	n := copy(b, m.data)
	out.N, out.Copied = vnetLen+n, vnetLen+n
	if n < len(m.data) {
		out.Flags = MsgTrunc
	}
	if flags&MsgTrunc != 0 {
		out.N = vnetLen + len(m.data)
	}
	return out, nil
}

// auxdata returns m's PACKET_AUXDATA. Linux parses a tag in the frame only now
// (packet_recvmsg), and does not find it if the packet's device is gone.
func (s *Socket) auxdata(m *queuedPacket) tpacket.Auxdata {
	aux := m.aux
	if m.tagInFrame {
		if _, there := s.ns.DeviceByIndex(int(m.from.Ifindex)); !there {
			aux.Status &^= VLAN{TPID: aux.VLANTPID}.status()
			aux.VLANTCI, aux.VLANTPID = 0, 0
		}
	}
	return aux
}

// Discard removes the first packet of the socket's queue, if there is one, and leaves a
// pending error. A caller of Peek discards the packet once it has handled it.
func (s *Socket) Discard() {
	s.mu.Lock()
	ro := s.rolloverState
	s.mu.Unlock()
	if m := s.queue.pop(s.ns, false); m != nil && ro != nil {
		ro.tryClearPressure(s, m.truesize)
	}
}

// QueuedBytes returns the length of the first packet in the queue, 0 if there is none
// (SIOCINQ).
func (s *Socket) QueuedBytes() int {
	if m := s.queue.pop(s.ns, true); m != nil {
		return len(m.data)
	}
	return 0
}

// sizeofCmsghdr is sizeof(struct cmsghdr) on a 64-bit machine: cmsg_len,
// cmsg_level, cmsg_type. Messages start at multiples of 8.
const (
	sizeofCmsghdr = 16
	cmsgAlign     = 8
)

// Control returns the control messages that the socket's options ask for, in
// Linux's order and layout, in at most room bytes. It sets MsgCtrunc where they
// were cut, as put_cmsg does (net/core/scm.c).
func (m *Message) Control(room int) []byte {
	var b []byte
	put := func(level, typ int, data []byte) {
		left := room - len(b)
		if left < sizeofCmsghdr {
			m.Flags |= MsgCtrunc
			return
		}
		size := sizeofCmsghdr + len(data)
		if size > left {
			m.Flags |= MsgCtrunc
			size = left
		}
		b = binary.NativeEndian.AppendUint64(b, uint64(size))
		b = binary.NativeEndian.AppendUint32(b, uint32(level))
		b = binary.NativeEndian.AppendUint32(b, uint32(typ))
		b = append(b, data[:size-sizeofCmsghdr]...)
		b = append(b, make([]byte, min(-size&(cmsgAlign-1), room-len(b)))...)
	}
	c := m.control
	if c.timestamp != 0 {
		var stamp [16]byte // a struct timeval or timespec: what is 64 bits wide is so in all of them
		part := m.Timestamp % 1e9
		if c.timestamp == soTimestamp || c.timestamp == soTimestampNew {
			part /= 1e3
		}
		binary.NativeEndian.PutUint64(stamp[:], uint64(m.Timestamp/1e9))
		binary.NativeEndian.PutUint64(stamp[8:], uint64(part))
		put(tpacket.SolSocket, c.timestamp, stamp[:])
	}
	if c.dropped && m.Dropped != 0 {
		put(tpacket.SolSocket, soRxqOvfl, binary.NativeEndian.AppendUint32(nil, m.Dropped))
	}
	if c.mark {
		put(tpacket.SolSocket, soMark, binary.NativeEndian.AppendUint32(nil, m.Mark))
	}
	if c.priority {
		put(tpacket.SolSocket, soPriority, binary.NativeEndian.AppendUint32(nil, m.Priority))
	}
	if c.auxdata {
		put(tpacket.SolPacket, tpacket.OptAuxdata, tpacket.Bytes(&m.Auxdata))
	}
	return b
}

// controlsLocked returns the control messages that the options request.
func (s *Socket) controlsLocked() controls {
	on := func(level, name int) bool { return s.flags[option{level, name}] != 0 }
	return controls{
		timestamp: s.stamp,
		dropped:   on(tpacket.SolSocket, soRxqOvfl),
		mark:      on(tpacket.SolSocket, soRcvmark),
		priority:  on(tpacket.SolSocket, soRcvpriority),
		auxdata:   on(tpacket.SolPacket, tpacket.OptAuxdata),
	}
}

// A Message travels between processes of one machine (package attach): it is laid
// out in that machine's byte order.

// messageSize is what AppendBinary appends.
const messageSize = 4*4 + tpacket.SizeofSockaddrLL + tpacket.SizeofAuxdata + 8 + 3*4

// control bits, beside the kind of time stamp in the low 8.
const (
	controlDropped = 1 << (8 + iota)
	controlMark
	controlPriority
	controlAuxdata
)

// AppendBinary implements [encoding.BinaryAppender].
func (m *Message) AppendBinary(b []byte) ([]byte, error) {
	put := func(v uint32) { b = binary.NativeEndian.AppendUint32(b, v) }
	control := uint32(m.control.timestamp)
	for i, on := range []bool{m.control.dropped, m.control.mark, m.control.priority, m.control.auxdata} {
		if on {
			control |= controlDropped << i
		}
	}
	put(uint32(m.N))
	put(uint32(m.Copied))
	put(uint32(m.Flags))
	put(control)
	b = append(b, tpacket.Bytes(&m.From)...)
	b = append(b, tpacket.Bytes(&m.Auxdata)...)
	b = binary.NativeEndian.AppendUint64(b, uint64(m.Timestamp))
	put(m.Mark)
	put(m.Priority)
	put(m.Dropped)
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]: EINVAL for another
// length than AppendBinary's.
func (m *Message) UnmarshalBinary(b []byte) error {
	if len(b) != messageSize {
		return explain.Errorf(syscall.EINVAL, "message of %d bytes: want %d", len(b), messageSize)
	}
	word := func() uint32 {
		v := binary.NativeEndian.Uint32(b)
		b = b[4:]
		return v
	}
	m.N, m.Copied, m.Flags = int(word()), int(word()), RecvFlags(word())
	control := word()
	m.control = controls{
		timestamp: int(control & 0xff),
		dropped:   control&controlDropped != 0,
		mark:      control&controlMark != 0,
		priority:  control&controlPriority != 0,
		auxdata:   control&controlAuxdata != 0,
	}
	m.From = tpacket.Parse[tpacket.SockaddrLL](b)
	b = b[tpacket.SizeofSockaddrLL:]
	m.Auxdata = tpacket.Parse[tpacket.Auxdata](b)
	b = b[tpacket.SizeofAuxdata:]
	m.Timestamp = int64(binary.NativeEndian.Uint64(b))
	b = b[8:]
	m.Mark, m.Priority, m.Dropped = word(), word(), word()
	return nil
}
