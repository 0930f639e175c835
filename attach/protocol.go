package attach

import (
	"encoding/binary"
	"errors"
	"syscall"
	"unicode/utf8"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/tpacket"
)

// Both ends are on one machine: words are in its byte order. A message is one
// datagram of a SOCK_SEQPACKET socket, so it has no length of its own.
//
//	request:  op, socket, sequence number, arguments
//	answer:   op, errno, the request's sequence number, results or the error's text
//	event:    op, socket (on the second connection, see wake.go)
//
// A client has one request under way at a time. The first is hello, which stays as
// it is in all versions; its sequence number is helloSeq. A server that refuses a
// connection sends the answer to hello and closes, before it has read any.

// version is of everything but hello. It changes when old and new no longer
// understand each other.
const version = 3

// magic begins a hello: no other program's first words are taken for one.
const magic = "rxring\x00\x01"

// helloSeq is the sequence number of the first request of a connection.
const helloSeq = 1

type op uint16

const (
	opHello      op = iota + 1 // magic, version -> version, device events
	opDevices                  // from -> a piece of a list of devices, as JSON
	opStatus                   // from -> a piece of a Status, as JSON
	opSocket                   // type, protocol -> socket
	opClose                    // -> counts
	opBind                     // sockaddr_ll
	opAddr                     // -> sockaddr_ll
	opSetsockopt               // level, name, whether a ring is mapped, value
	opGetsockopt               // level, name, room, value -> value
	opSetFilter                // struct sock_filter...
	opGetFilter                // room -> n, struct sock_filter...
	opFanoutProg               // struct sock_filter...
	opMap                      // size, a memfd for the rings or none to ask whether they have that size
	opRings                    // -> the receive ring's geometry, whether there is a transmit ring
	opPoll                     // whether to arm -> events, bytes of the first packet
	opRecv                     // flags, room -> rxring.Message, packet
	opSend                     // whether there is an address, sockaddr_ll, frame -> n
	opRoute                    // whether there is an address, sockaddr_ll -> index
	opCounts                   // -> counts
	opDiscard
	opPeek   // as opRecv, but that the flags are not looked at
	opMapped // the memfd of the last opMap is mapped: the rings move there
	opMost
)

// Events.
const (
	evWake    op = iota + 1 // somebody armed the socket, and there is news
	evDevices               // ask for them again
	evRevoked               // Config.Grant grants nothing any more: the connection ends
)

const (
	headerLen = 12
	eventLen  = 8

	// maxMessage bounds a message: it has room for the longest packet in a queue
	// and stays below what net.core.wmem_default lets a socket send in one piece.
	maxMessage = 192 << 10
	maxPayload = maxMessage - 1024 // of packets and lists

	maxOption = 4096 // bytes of an option's value
	maxError  = 1024 // bytes of an error's text
)

// message is written to from its start, and read likewise.
type message struct {
	b   []byte
	at  int
	bad bool // something was read past the end
}

func (m *message) u16(v uint16)   { m.b = binary.NativeEndian.AppendUint16(m.b, v) }
func (m *message) u32(v uint32)   { m.b = binary.NativeEndian.AppendUint32(m.b, v) }
func (m *message) u64(v uint64)   { m.b = binary.NativeEndian.AppendUint64(m.b, v) }
func (m *message) bytes(v []byte) { m.b = append(m.b, v...) }

func (m *message) flag(v bool) {
	if v {
		m.u32(1)
	} else {
		m.u32(0)
	}
}

// address puts where to send to, if anywhere.
func (m *message) address(to *tpacket.SockaddrLL) {
	m.flag(to != nil)
	if to != nil {
		m.bytes(tpacket.Bytes(to))
	}
}

// start begins a message: op, socket or errno, sequence number.
func (m *message) start(o op, word, seq uint32) {
	m.b = m.b[:0]
	m.u16(uint16(o))
	m.u16(0)
	m.u32(word)
	m.u32(seq)
}

// fail makes it the answer that a request has failed with err.
func (m *message) fail(o op, seq uint32, err error) {
	m.start(o, uint32(errno(err)), seq)
	text := err.Error()
	m.bytes([]byte(text[:min(len(text), maxError)]))
}

// take returns the next n bytes.
func (m *message) take(n int) []byte {
	if n < 0 || n > len(m.b)-m.at {
		m.bad = true
		return nil
	}
	b := m.b[m.at : m.at+n]
	m.at += n
	return b
}

func (m *message) rest() []byte { return m.take(len(m.b) - m.at) }

func (m *message) word() uint32 {
	if b := m.take(4); b != nil {
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}

func (m *message) long() uint64 {
	if b := m.take(8); b != nil {
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}

func (m *message) int() int { return int(int32(m.word())) }

func (m *message) yes() bool { return m.word() != 0 }

func (m *message) takeAddress() *tpacket.SockaddrLL {
	if !m.yes() {
		return nil
	}
	to := record[tpacket.SockaddrLL](m)
	return &to
}

// head reads what start wrote.
func (m *message) head() (o op, word, seq uint32) {
	if b := m.take(4); b != nil {
		o = op(binary.NativeEndian.Uint16(b))
	}
	return o, m.word(), m.word()
}

// end says whether all that was asked for was there, and nothing else.
func (m *message) end() bool { return !m.bad && m.at == len(m.b) }

// record reads a C struct that lies in the message.
func record[T tpacket.Record](m *message) (v T) {
	if b := m.take(len(tpacket.Bytes(&v))); b != nil {
		v = tpacket.Parse[T](b)
	}
	return v
}

// counts puts drops last: by the reasons' numbers, of which a newer rxring may have
// more.
func (m *message) counts(c counts) {
	m.u64(c.totals.Filtered)
	m.u64(c.totals.Captured)
	m.u64(c.sent)
	for _, n := range c.totals.Drops {
		m.u64(n)
	}
}

func (m *message) takeCounts() (c counts) {
	c.totals.Filtered, c.totals.Captured, c.sent = m.long(), m.long(), m.long()
	for reason := 0; m.at < len(m.b) && !m.bad; reason++ {
		c.totals.Drops.Add(reason, m.long())
	}
	return c
}

// sizeofFilter is sizeof(struct sock_filter).
const sizeofFilter = 8

func (m *message) program(prog []cbpf.Instruction) {
	for _, in := range prog {
		m.u16(in.Op)
		m.b = append(m.b, in.Jt, in.Jf)
		m.u32(in.K)
	}
}

// takeProgram reads the rest as a program.
func (m *message) takeProgram() (prog []cbpf.Instruction) {
	if (len(m.b)-m.at)%sizeofFilter != 0 {
		m.bad = true
		return nil
	}
	for m.at < len(m.b) {
		b := m.take(sizeofFilter)
		prog = append(prog, cbpf.Instruction{
			Op: binary.NativeEndian.Uint16(b),
			Jt: b[2],
			Jf: b[3],
			K:  binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return prog
}

// errno is what an error is to the other end.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return syscall.EIO
}

// remoteError is an error of the other end.
type remoteError struct {
	errno syscall.Errno
	text  string
}

// remote makes an error of what the other end says. Its text may end on a terminal,
// which is nobody else's to write to: what is not to be read is left out.
func remote(errno syscall.Errno, text []byte) error {
	return &remoteError{errno, printable.Text(string(text), utf8.RuneError)}
}

func (e *remoteError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return e.text
}

func (e *remoteError) Unwrap() error { return e.errno }

var errMessage = explain.Errorf(syscall.EPROTO, "attach: a message that makes no sense")
