package dump

import (
	"bufio"
	"os"
	"time"

	"github.com/rxring/rxring/cmd/rxring/internal/line"
	"github.com/rxring/rxring/cmd/rxring/internal/progress"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/source/file/capfile"
)

// textBuffer is the most that is written to a pipe at once, in bytes.
const textBuffer = 64 << 10

// text writes a line for each packet.
type text struct {
	w      *bufio.Writer
	each   bool // flush each line, for a terminal
	named  bool // lines have the device's name
	liners map[capfile.LinkType]*line.Liner
	buffer []byte
}

func newText(stdout *os.File, named bool) *text {
	return &text{
		w: bufio.NewWriterSize(stdout, textBuffer), each: progress.IsTerminal(stdout),
		named: named, liners: make(map[capfile.LinkType]*line.Liner),
	}
}

func (t *text) write(p *packet) error {
	l := t.liners[p.device.link]
	if l == nil {
		l = line.New(p.device.link)
		t.liners[p.device.link] = l
	}
	q := line.Packet{Time: p.time, Outgoing: p.outgoing, Data: p.data, Len: p.len}
	if t.named {
		q.Device = p.device.name
	}
	t.buffer = l.Append(t.buffer[:0], &q)
	if _, err := t.w.Write(t.buffer); err != nil {
		return err
	}
	if t.each {
		return t.w.Flush()
	}
	return nil
}

func (t *text) idle() error { return t.w.Flush() }

func (t *text) due() time.Time { return time.Time{} }

func (t *text) tick() error { return nil }

func (t *text) close(capture.Stats) error { return t.w.Flush() }

func (t *text) files() int { return 0 }
