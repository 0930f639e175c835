package fleet

import (
	"bytes"
	"runtime"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
)

// encoder makes sections of pcapng of packets. It must not be used concurrently.
type encoder struct {
	iface      capfile.Interface
	start      time.Time // of the session
	limit      int       // bytes of a section, at least minLimit
	out        bytes.Buffer
	w          *capfile.Writer
	size       int // of the section, about: what it will have is no longer
	n          int // packets
	cut        uint64
	began      time.Time // when the first one was added
	compressor compressor
}

const (
	// overhead is more than a packet's block has beside packet and comment, in bytes.
	overhead = 64
	// envelope is more than a section's other blocks have, in bytes.
	envelope = 1 << 10
	// minLimit is the shortest limit of a section.
	minLimit = 16 << 10
	// maxComment is how many bytes of a packet's comment rxring keeps.
	maxComment = 4096
)

// room reports whether the section has room for p.
func (e *encoder) room(p *capfile.Packet) bool {
	return e.n == 0 || e.size+overhead+len(p.Data)+len(p.Comment) <= e.limit
}

// add appends a packet. One that is longer than a section can be is truncated.
func (e *encoder) add(p *capfile.Packet) error {
	if e.n == 0 {
		if err := e.begin(); err != nil {
			return err
		}
	}
	data := p.Data[:min(len(p.Data), e.limit-envelope-overhead-maxComment)]
	if len(data) < p.Len {
		e.cut++
	}
	e.n++
	e.size += overhead + len(data) + len(p.Comment)
	return e.w.WriteCommented(0, p.Timestamp, p.Len, data, p.Direction, p.Comment)
}

func (e *encoder) begin() (err error) {
	e.out.Reset()
	e.size, e.began = envelope, time.Now()
	s := capfile.Section{OS: runtime.GOOS, Application: "rxring ship"}
	if e.w == nil {
		e.w, err = capfile.NewWriter(&e.out, s)
	} else {
		err = e.w.BeginSection(s)
	}
	if err == nil {
		_, err = e.w.AddInterface(e.iface)
	}
	return err
}

// end ends the section, and returns it in its encoding; nothing if it has no packets. It is valid
// until the next call.
func (e *encoder) end(c counts) (payload []byte, encoding string, err error) {
	if e.n == 0 {
		return nil, "", nil
	}
	e.n = 0
	now := time.Now().UnixNano()
	err = e.w.WriteStats(0, capfile.Stats{Time: now, Start: e.start.UnixNano(), End: now, Received: &c.Offered, Dropped: &c.Lost, OSDropped: &c.Dropped})
	if err == nil {
		err = e.w.Flush()
	}
	if err != nil {
		return nil, "", err
	}
	return e.compressor.compress(e.out.Bytes())
}
