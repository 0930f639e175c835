package extcap

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cmd/rxring/internal/dump"
)

// toolbar shows drop counts in Wireshark's toolbar while a capture runs. tshark has none.
//
// Messages on the control pipes have a header of 6 bytes: 'T', the length of the rest in three
// bytes, big-endian, the number of a control and a command.
type toolbar struct {
	in    *os.File // from Wireshark; nil: there is no toolbar
	out   string   // path of the FIFO to Wireshark
	ready chan struct{}
	wg    sync.WaitGroup // read
}

// Commands of messages.
const (
	commandInitialized = 0 // Wireshark has opened the toolbar
	commandSet         = 1
	commandAdd         = 2
)

const messageHeader = 6 // bytes

// openToolbar opens the pipe from Wireshark. in and out are "" if there is no toolbar.
//
// Wireshark opens its end of that pipe in the thread of its window, which waits for ours. So
// this must come before anything that can fail or take long.
func openToolbar(in, out string) (*toolbar, error) {
	t := &toolbar{out: out, ready: make(chan struct{})}
	if in == "" || out == "" {
		return t, nil
	}
	var err error
	if t.in, err = openControl(in); err != nil {
		return nil, fmt.Errorf("--extcap-control-in %w", err)
	}
	t.wg.Go(t.read)
	return t, nil
}

// read reads all messages, so that Wireshark need not wait to write them. It closes ready at
// the message that the toolbar is open.
func (t *toolbar) read() {
	var once sync.Once
	r := bufio.NewReader(t.in)
	for {
		var header [messageHeader]byte
		if _, err := io.ReadFull(r, header[:]); err != nil || header[0] != 'T' {
			return
		}
		length := binary.BigEndian.Uint32(header[:4]) & 0xffffff
		if length > messageHeader-4 {
			if _, err := r.Discard(int(length) - (messageHeader - 4)); err != nil {
				return
			}
		}
		if header[5] == commandInitialized {
			once.Do(func() { close(t.ready) })
		}
	}
}

// openTime bounds the time in which Wireshark is expected to open its toolbar.
const openTime = 3 * time.Second

// Close closes the pipe from Wireshark, after Wireshark has opened it: its window would wait
// for ever for a program that ended before.
func (t *toolbar) Close() {
	if t.in == nil {
		return
	}
	select {
	case <-t.ready:
	case <-time.After(openTime):
	}
	t.in.Close()
	t.wg.Wait()
}

// updateInterval is the time between updates of the counts.
const updateInterval = 500 * time.Millisecond

// show shows the counts of stats until ctx ends, and once more after that. begin is the first
// line of the log.
func (t *toolbar) show(ctx context.Context, begin string, stats func() capture.Stats) {
	if t.in == nil {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-t.ready:
	}
	f, err := dump.OpenFIFO(ctx, t.out)
	if err != nil {
		return
	}
	defer f.Close()
	w := &controlWriter{f: f}
	w.log(begin)
	tick := time.NewTicker(updateInterval)
	defer tick.Stop()
	for {
		w.update(stats())
		select {
		case <-ctx.Done():
			last := stats()
			w.update(last)
			w.log("end: dropped " + dropText(last))
			return
		case <-tick.C:
		}
	}
}

// controlWriter writes messages to Wireshark. After an error it writes nothing.
type controlWriter struct {
	f     *os.File
	shown string // text of controlDropped
	drops uint64
	err   error
}

// sendTime bounds how long a message may wait for Wireshark to read.
const sendTime = time.Second

func (w *controlWriter) send(control, command byte, payload string) {
	if w.err != nil {
		return
	}
	b := make([]byte, 4, messageHeader+len(payload))
	binary.BigEndian.PutUint32(b, uint32(len(payload)+messageHeader-4))
	b[0] = 'T'
	b = append(append(b, control, command), payload...)
	w.f.SetWriteDeadline(time.Now().Add(sendTime))
	_, w.err = w.f.Write(b)
}

// log adds a line to the log.
func (w *controlWriter) log(line string) {
	w.send(controlLog, commandAdd, time.Now().Format(time.TimeOnly)+" "+line+"\n")
}

// update shows the counts if they have changed, and logs the first drop.
func (w *controlWriter) update(s capture.Stats) {
	text := dropText(s)
	if text == w.shown {
		return
	}
	if w.drops == 0 && s.Drops > 0 {
		w.log("dropped " + text)
	}
	w.shown, w.drops = text, s.Drops
	w.send(controlDropped, commandSet, text)
}

// dropText returns how many packets were dropped, and why.
func dropText(s capture.Stats) string {
	if s.Drops == 0 {
		return "0"
	}
	text := fmt.Sprintf("%d of %d", s.Drops, s.Packets)
	sep := ": "
	for why, n := range s.Reasons.All() {
		switch {
		case n == s.Drops:
			return text + ": " + why.Explanation()
		case n > 0:
			text += fmt.Sprintf("%s%d %v", sep, n, why)
			sep = ", "
		}
	}
	return text
}
