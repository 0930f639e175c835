package defrag

import (
	"container/list"
	"encoding/binary"
	"sync"
	"time"
)

// Linux's defaults (net.ipv4.ipfrag_time, ipfrag_high_thresh, ipfrag_max_dist).
const (
	Timeout     = 30 * time.Second // a packet must be whole so long after its first fragment
	MaxBytes    = 4 << 20          // all fragments together; more are dropped
	MaxDistance = 64               // fragments of one source between two of the same packet
)

// overhead is what a fragment takes beside its bytes: about what a small sk_buff
// does.
const overhead = 512

// Frame is an IPv4 packet or a fragment of one, with whatever link-layer header it
// has.
type Frame[C any] struct {
	Data    []byte // to the end of the IPv4 packet, and not further
	NetOff  int    // where the IPv4 header lies
	Partial bool   // the checksum is left to the card (CHECKSUM_PARTIAL): that of a whole packet, if that of all fragments
	Context C      // what else the caller knows of it
}

// Table holds the fragments of packets that are not whole yet, each with a context
// of type C. All methods may be called concurrently.
type Table[C any] struct {
	mu      sync.Mutex
	packets map[key]*packet[C]
	byAge   list.List // of *packet[C], oldest first
	sources map[[4]byte]*source
	bytes   int
	now     func() time.Time
}

// New makes an empty table.
func New[C any]() *Table[C] {
	return &Table[C]{packets: make(map[key]*packet[C]), sources: make(map[[4]byte]*source), now: time.Now}
}

// key is what fragments of one packet have in common (struct frag_v4_compare_key,
// net/inet_frag.h).
type key struct {
	src, dst [4]byte
	id       uint16
	protocol uint8
}

// packet is one that is not whole yet. It mirrors struct ipq.
type packet[C any] struct {
	key    key
	source *source
	age    *list.Element
	born   time.Time

	runs   []run[C] // in order, none overlaps another
	have   int      // payload bytes
	length int      // of the payload: final when the last fragment is in
	last   bool     // it is
	seen   uint32   // fragments of the source that had come by when the latest one of this packet did
	ecn    uint8    // a bit for each ECN code point
	bytes  int
	size   int // of the longest fragment
	sizeDF int // of the longest one that must not be fragmented
}

// run is fragments that came one after the other. Neighbours are not joined:
// Linux distinguishes a repeated fragment from an overlap by the run that it is in.
type run[C any] struct {
	start, end int
	frames     []Frame[C]
}

// source counts the fragments of one address, while packets of it are held.
type source struct {
	seen    uint32
	packets int
}

// Parts of an IPv4 header (linux/ip.h, net/ip.h).
const (
	flagDF     = 0x4000
	flagMF     = 0x2000
	offsetMask = 0x1fff
	ecnMask    = 3
	ecnCE      = 3
	ecnNone    = 1 << 0 // the bit of a packet whose sender does not know ECN
)

// IsFragment says whether an IPv4 header is that of a fragment. Short or broken
// ones are not.
func IsFragment(header []byte) bool {
	return len(header) >= 20 && header[0]>>4 == 4 && header[0]&15 >= 5 &&
		binary.BigEndian.Uint16(header[6:])&(flagMF|offsetMask) != 0
}

// Add takes a fragment, and returns the packet when this was the last one missing:
// with the first fragment's headers and context. The table keeps f.Data.
//
// f's header must be one of IsFragment, and f.Data hold all that it says.
func (t *Table[C]) Add(f Frame[C]) (whole Frame[C], ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire()
	p := t.find(f.Data[f.NetOff:])
	if p == nil {
		return whole, false
	}
	if !t.insert(p, f) {
		t.forget(p)
		return whole, false
	}
	if !p.last || p.have != p.length || p.runs[0].start != 0 {
		return whole, false
	}
	t.forget(p)
	return p.join()
}

// expire forgets the packets that had their time. Linux has a timer each; here it
// is seen to when the next fragment comes, which is soon enough for a table that
// is bounded.
func (t *Table[C]) expire() {
	for e := t.byAge.Front(); e != nil; e = t.byAge.Front() {
		p := e.Value.(*packet[C])
		if t.now().Sub(p.born) < Timeout {
			return
		}
		t.forget(p)
	}
}

// find is the packet that header's is a fragment of, a new one if need be; nil
// when the table is full.
func (t *Table[C]) find(header []byte) *packet[C] {
	if t.bytes > MaxBytes {
		return nil
	}
	k := key{src: [4]byte(header[12:]), dst: [4]byte(header[16:]), id: binary.BigEndian.Uint16(header[4:]), protocol: header[9]}
	p := t.packets[k]
	if p == nil {
		s := t.sources[k.src]
		if s == nil {
			s = new(source)
			t.sources[k.src] = s
		}
		s.packets++
		p = &packet[C]{key: k, source: s, born: t.now()}
		p.age = t.byAge.PushBack(p)
		t.packets[k] = p
	}
	return p
}

func (t *Table[C]) forget(p *packet[C]) {
	t.bytes -= p.bytes
	delete(t.packets, p.key)
	t.byAge.Remove(p.age)
	if p.source.packets--; p.source.packets == 0 {
		delete(t.sources, p.key.src)
	}
}

// tooFar says whether so many other fragments of the source came since the latest
// of p that it may be another packet of the same id (ip_frag_too_far).
func (p *packet[C]) tooFar() bool {
	p.source.seen++
	before := p.seen
	p.seen = p.source.seen
	return len(p.runs) > 0 && p.seen-before > MaxDistance
}

// restart has p begin with the next fragment (ip_frag_reinit).
func (t *Table[C]) restart(p *packet[C]) {
	t.bytes -= p.bytes
	*p = packet[C]{key: p.key, source: p.source, age: p.age, born: t.now(), seen: p.seen}
	t.byAge.MoveToBack(p.age)
}

// insert adds a fragment to p (ip_frag_queue). Not ok: the packet makes no sense.
func (t *Table[C]) insert(p *packet[C], f Frame[C]) (ok bool) {
	if p.tooFar() {
		t.restart(p)
	}
	header := f.Data[f.NetOff:]
	ihl := int(header[0]&15) * 4
	frag := binary.BigEndian.Uint16(header[6:])
	start := int(frag&offsetMask) * 8
	end := start + len(header) - ihl
	if frag&flagMF == 0 {
		if end < p.length || p.last && end != p.length {
			return false
		}
		p.last, p.length = true, end
	} else {
		end &^= 7
		if end > p.length {
			if p.last {
				return false
			}
			p.length = end
		}
	}
	if end == start {
		return false
	}
	f.Data = f.Data[:f.NetOff+ihl+end-start]
	fresh, ok := p.place(start, end, f)
	if !fresh {
		return ok
	}
	size := len(f.Data) + overhead
	p.bytes += size
	t.bytes += size
	p.have += end - start
	p.ecn |= 1 << (header[1] & ecnMask)
	p.size = max(p.size, ihl+end-start)
	if frag&flagDF != 0 {
		p.sizeDF = max(p.sizeDF, ihl+end-start)
	}
	return true
}

// place puts a fragment among the others (inet_frag_queue_insert). Not fresh: it
// came before; and not ok: it overlaps another.
func (p *packet[C]) place(start, end int, f Frame[C]) (fresh, ok bool) {
	if n := len(p.runs); n == 0 || p.runs[n-1].end < end { // it goes to the end, as most do
		if n > 0 && start < p.runs[n-1].end {
			return false, false
		}
		if n > 0 && start == p.runs[n-1].end {
			p.runs[n-1].end = end
			p.runs[n-1].frames = append(p.runs[n-1].frames, f)
		} else {
			p.runs = append(p.runs, run[C]{start, end, []Frame[C]{f}})
		}
		return true, true
	}
	low, high := 0, len(p.runs)
	for low < high {
		mid := (low + high) / 2
		switch r := &p.runs[mid]; {
		case end <= r.start:
			high = mid
		case start >= r.end:
			low = mid + 1
		case start >= r.start && end <= r.end:
			return false, true
		default:
			return false, false
		}
	}
	p.runs = append(p.runs, run[C]{})
	copy(p.runs[low+1:], p.runs[low:])
	p.runs[low] = run[C]{start, end, []Frame[C]{f}}
	return true, true
}

// join is the whole packet (ip_frag_reasm).
func (p *packet[C]) join() (whole Frame[C], ok bool) {
	const maxLength = 65535 // what tot_len holds
	first := p.runs[0].frames[0]
	ihl := int(first.Data[first.NetOff]&15) * 4
	if ihl+p.length > maxLength || p.ecn&ecnNone != 0 && p.ecn != ecnNone {
		return whole, false
	}
	partial := true
	b := make([]byte, 0, first.NetOff+ihl+p.length)
	b = append(b, first.Data[:first.NetOff+ihl]...)
	for _, r := range p.runs {
		for _, f := range r.frames {
			b = append(b, f.Data[f.NetOff+int(f.Data[f.NetOff]&15)*4:]...)
			partial = partial && f.Partial
		}
	}
	header := b[first.NetOff : first.NetOff+ihl]
	if p.ecn&(1<<ecnCE) != 0 {
		header[1] |= ecnCE
	}
	binary.BigEndian.PutUint16(header[2:], uint16(ihl+p.length))
	frag := uint16(0)
	if p.sizeDF == p.size { // path MTU discovery: the longest fragment had to arrive like this
		frag = flagDF
	}
	binary.BigEndian.PutUint16(header[6:], frag)
	putChecksum(header)
	return Frame[C]{Data: b, NetOff: first.NetOff, Partial: partial, Context: first.Context}, true
}

// putChecksum is ip_send_check.
func putChecksum(header []byte) {
	binary.BigEndian.PutUint16(header[10:], 0)
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
}
