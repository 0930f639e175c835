package attach

import (
	"errors"
	"syscall"
	"unicode/utf8"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/printable"
)

// Both ends run on one machine, so words are in its byte order. A message is one datagram of
// a SOCK_SEQPACKET socket, so it has no length field.
//
//	request:  op, socket, sequence number, arguments
//	answer:   op, errno, the request's sequence number, results or the error's text
//	event:    op, flags, socket (on the second connection, see event_conn.go)
//
// A client sends a request only after it has read the answer to the one before. opArm has no
// answer. The first request is hello, which is the same in all versions; its sequence number is
// helloSeq. A server that refuses a connection sends the answer to hello and closes, possibly
// before it has read hello.

// version changes when older and newer ends no longer understand each other.
const version = 5

// magic starts a hello, so that no other program's first bytes pass for one.
const magic = "rxring\x00\x01"

// helloSeq is the sequence number of hello.
const helloSeq = 1

type op uint16

const (
	opHello      op = iota + 1 // magic, version -> version, the descriptor of events
	opDevices                  // offset, whether all are wanted -> a chunk of a deviceList, as JSON
	opStatus                   // offset -> a chunk of a Status, as JSON
	opSocket                   // type, protocol -> socket
	opClose                    // -> counts
	opBind                     // sockaddr_ll
	opAddr                     // -> sockaddr_ll
	opSetsockopt               // level, name, whether a ring is mapped, value
	opGetsockopt               // level, name, size, value -> value
	opSetFilter                // struct sock_filter...
	opGetFilter                // size -> n, struct sock_filter...
	opFanoutProg               // struct sock_filter...
	opMap                      // size, a memfd for the rings or none to ask whether they have that size
	opRings                    // -> the receive ring's geometry, whether there is a transmit ring
	opPoll                     // whether to arm -> events, whether readable, bytes of the first packet
	opRecv                     // flags, size -> rxring.Message, packet
	opSend                     // whether there is an address, sockaddr_ll, frame -> n
	opRoute                    // whether there is an address, sockaddr_ll -> index
	opCounts                   // -> counts
	opDiscard
	opPeek   // as opRecv, but the flags are ignored
	opMapped // the memfd of the last opMap is mapped: move the rings there
	opArm    // how many wake-ups: as opPoll to arm, but without an answer: if there is an event already, a wake-up follows
	opEnd    // the number after the last operation
)

// Events.
const (
	evWake    op = iota + 1 // an armed socket is ready; flag: see flagMore
	evDevices               // the devices have changed: request them again
	evRevoked               // Config.Grant has revoked everything: the connection ends
)

// flagMore is set in evWake if the socket has an event that its ring does not show: an error, or
// a packet in the queue.
const flagMore = 1

const (
	// maxWakes is the greatest number of wake-ups that opArm asks for.
	maxWakes = 4
	// manyWakes is how many sockets of a client ask for more than one: see eventBuffer.
	manyWakes = 4
)

const (
	headerLen = 12
	eventLen  = 8

	// maxMessage is the greatest length of a message. The longest queued packet fits, and
	// it is less than net.core.wmem_default lets a socket send at once.
	maxMessage = 192 << 10
	maxPayload = maxMessage - 1024 // of packets and lists

	maxOption = 4096 // bytes of an option's value
	maxError  = 1024 // bytes of an error's text
)

var errMessage = explain.Errorf(syscall.EPROTO, "attach: malformed message")

// errnoOf is the errno that the other end receives for err.
func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return syscall.EIO
}

// remoteError is an error that the other end sent.
type remoteError struct {
	errno syscall.Errno
	text  string
}

// newRemoteError removes from the other end's text what a terminal would interpret.
func newRemoteError(errno syscall.Errno, text []byte) error {
	return &remoteError{errno, printable.Text(string(text), utf8.RuneError)}
}

func (e *remoteError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return e.text
}

func (e *remoteError) Unwrap() error { return e.errno }
