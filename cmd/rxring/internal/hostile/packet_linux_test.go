package hostile

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// phase is a part of a run.
type phase uint32

const (
	warmUp   phase = iota
	quiet          // without the attacker
	attacked       // with it
	phases
)

func (p phase) String() string { return [...]string{"warm-up", "quiet", "attacked"}[p] }

// trailer lies at the end of each packet.
type trailer struct {
	number uint32 // from 0
	phase  phase
	sent   time.Duration // on CLOCK_MONOTONIC, which all processes share
}

const trailerLen = 16

func (t trailer) put(packet []byte) {
	b := packet[len(packet)-trailerLen:]
	binary.BigEndian.PutUint32(b, t.number)
	binary.BigEndian.PutUint32(b[4:], uint32(t.phase))
	binary.BigEndian.PutUint64(b[8:], uint64(t.sent))
}

// readTrailer reads it from a packet of the sender's; false for others.
func readTrailer(packet []byte) (t trailer, ok bool) {
	if len(packet) < 14+trailerLen || [12]byte(packet) != addresses {
		return t, false
	}
	b := packet[len(packet)-trailerLen:]
	t = trailer{binary.BigEndian.Uint32(b), phase(binary.BigEndian.Uint32(b[4:])), time.Duration(binary.BigEndian.Uint64(b[8:]))}
	return t, t.phase < phases
}

// addresses is how each of the sender's packets begins: to everybody, from itself.
var addresses = [12]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1}

// newPacket is a packet of the sender's, of n bytes.
func newPacket(etherType uint16, n int) []byte {
	b := make([]byte, n)
	copy(b, addresses[:])
	binary.BigEndian.PutUint16(b[12:], etherType)
	return b
}

// quietPacket is of an EtherType for experiments (IEEE Std 802).
var quietPacket = newPacket(0x88b5, 200)

// now is the time on CLOCK_MONOTONIC.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// order is the line that tells a process of the phase.
func (p phase) order() string { return fmt.Sprintf("phase %d", p) }
