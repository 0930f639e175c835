package attach

import (
	"encoding/binary"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// message is a message that is being written or read, from its start. The methods named for
// types append; those below them read.
type message struct {
	b   []byte
	at  int  // the next byte to read
	bad bool // a read went past the end
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

// address appends an optional destination.
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

// fail replaces the message by the answer that a request failed with err.
func (m *message) fail(o op, seq uint32, err error) {
	m.start(o, uint32(errnoOf(err)), seq)
	text := err.Error()
	m.bytes([]byte(text[:min(len(text), maxError)]))
}

// counts appends counts. Drops are last, by the numbers of their reasons: a newer version
// may have more.
func (m *message) counts(c counts) {
	m.u64(c.totals.Filtered)
	m.u64(c.totals.Captured)
	m.u64(c.sent)
	for _, n := range c.totals.Drops {
		m.u64(n)
	}
}

func (m *message) program(prog []cbpf.Instruction) { m.b = cbpf.AppendBytes(m.b, prog) }

// take reads n bytes.
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
	to := takeRecord[tpacket.SockaddrLL](m)
	return &to
}

// head reads what start wrote.
func (m *message) head() (o op, word, seq uint32) {
	if b := m.take(4); b != nil {
		o = op(binary.NativeEndian.Uint16(b))
	}
	return o, m.word(), m.word()
}

// end reports whether every read succeeded and nothing is left.
func (m *message) end() bool { return !m.bad && m.at == len(m.b) }

// takeRecord reads a C struct.
func takeRecord[T tpacket.Record](m *message) (v T) {
	if b := m.take(len(tpacket.Bytes(&v))); b != nil {
		v = tpacket.Parse[T](b)
	}
	return v
}

// takeCounts reads the rest as counts.
func (m *message) takeCounts() (c counts) {
	c.totals.Filtered, c.totals.Captured, c.sent = m.long(), m.long(), m.long()
	for reason := 0; m.at < len(m.b) && !m.bad; reason++ {
		c.totals.Drops.Add(reason, m.long())
	}
	return c
}

// takeProgram reads the rest as a program.
func (m *message) takeProgram() []cbpf.Instruction {
	if (len(m.b)-m.at)%cbpf.SizeofInstruction != 0 {
		m.bad = true
		return nil
	}
	return cbpf.ParseBytes(m.take(len(m.b) - m.at))
}
