package dump

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/tpacket"
)

// Record configures a flight recorder: a capture that keeps packets in memory and writes them
// to a file when something has happened.
type Record struct {
	Bytes   int64         // of memory; 0: no flight recorder
	Last    time.Duration // by which a packet's time may be before that of the last one; 0: all are written
	After   time.Duration // how long packets are also written after a trigger
	Trigger string        // a filter in libpcap's language: a packet that matches is a trigger; "": none

	// Requests are further triggers. It may be nil.
	Requests <-chan Request
}

// Request has the flight recorder write its packets.
type Request struct {
	// Done is called when they are written, or cannot be. It may be nil.
	Done func(Recording, error)
}

// Recording is a file that a flight recorder has written.
type Recording struct {
	File    string
	Packets uint64
	Span    time.Duration // from the first packet to the last
	Dropped uint64        // since the first packet, or shortly before it
}

func (r Recording) String() string {
	s := "s"
	if r.Packets == 1 {
		s = ""
	}
	text := fmt.Sprintf("%s: %d packet%s of %v", r.File, r.Packets, s, r.Span.Round(time.Millisecond))
	if r.Dropped > 0 {
		text += fmt.Sprintf(", %d dropped in that time", r.Dropped)
	}
	return text
}

// minRecord is the least memory of a flight recorder, in bytes: packets of the largest size fit.
const minRecord = 1 << 20

// maxRecordBuffer is the size in bytes of a ring that has room for the packets of 0.4 s, at
// 1,000,000 packets of 64 bytes a second: a busy machine may not run the recorder for that long.
const maxRecordBuffer = 64 << 20

// Buffer returns the size in bytes of the ring that a flight recorder reads by default: as large
// as its memory, within limits.
func (r *Record) Buffer() int { return int(min(max(r.Bytes, 4<<20), maxRecordBuffer)) }

// writeChunk is how many bytes of the memory are written to a file before the place is given to
// new packets.
const writeChunk = 256 << 10

// recorder keeps the newest packets in memory. A trigger has another goroutine write them to a
// file, while the capture continues in what that one has written. Only when the memory has no
// room for a packet meanwhile does the capture wait, and packets can be dropped from the ring.
type recorder struct {
	out    *files // only the goroutine that writes uses it
	record Record
	wake   func() // makes the capture call tick
	print  func(Recording)

	triggers []*cbpf.Filter // by device.id; nil: no packet matches
	frame    cbpf.Packet
	wg       sync.WaitGroup
	stop     chan struct{} // closed by close

	mu      sync.Mutex
	changed sync.Cond
	history history
	losses  losses
	sampled uint64    // position at which the counts were read last
	newest  int64     // time of the packet that was received last
	devices []*device // by id
	writing bool
	written uint64    // position: packets before it are in a file, or will not be
	until   uint64    // position up to which packets are written
	oldest  int64     // time before which packets are too old
	after   time.Time // until when further packets are written
	asked   []Request // answered at the end of the file
	err     error     // why the capture ends
	closed  bool
}

func newRecorder(d *dumper) (*recorder, error) {
	f, err := newFiles(d)
	if err != nil {
		return nil, err
	}
	r := &recorder{
		out: f, record: d.Record, stop: make(chan struct{}),
		wake: func() { d.in.Handle.SetDeadline(time.Now()) },
		print: func(done Recording) {
			if !d.Quiet {
				fmt.Fprintf(printable.Writer(d.stderr), "rxring: wrote %v\n", done)
			}
		},
		history: newHistory(d.Record.Bytes),
	}
	r.changed.L = &r.mu
	if d.order != nil {
		r.losses.disorder = orderPackets + uint32(len(d.order.batch))
	}
	r.losses.samples = []sample{{time: d.start.UnixNano()}}
	for _, dev := range d.in.named() {
		if err := r.addDevice(dev); err != nil {
			return nil, err
		}
	}
	if d.Record.Requests != nil {
		r.wg.Go(r.serve)
	}
	return r, nil
}

// serve triggers on requests.
func (r *recorder) serve() {
	for {
		select {
		case q := <-r.record.Requests:
			r.mu.Lock()
			r.triggerLocked(q)
			r.mu.Unlock()
		case <-r.stop:
			return
		}
	}
}

// addDevice compiles the trigger for packets of a device that has had none.
func (r *recorder) addDevice(d *device) error {
	var trigger *cbpf.Filter
	if r.record.Trigger != "" {
		prog, err := pcapfilter.Compile(r.record.Trigger, int(d.link), 0)
		if errors.Is(err, syscall.EINVAL) && d.id > 0 { // it is about another link type
			prog, err = rejectAll, nil
		}
		if err == nil {
			trigger, err = cbpf.Compile(prog)
		}
		if errors.Is(err, syscall.EINVAL) {
			err = &UsageError{fmt.Errorf("--trigger: %w", err)}
		}
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.devices = append(r.devices, d)
	r.triggers = append(r.triggers, trigger)
	return nil
}

func (r *recorder) write(p *packet) error {
	for p.device.id >= len(r.triggers) {
		if err := r.addDevice(p.device); err != nil {
			return err
		}
	}
	matches := r.matches(p)
	if r.wantsSample(matches) {
		now, after := r.out.stats(), r.out.stats()
		r.mu.Lock()
		r.sampleLocked(now, after, p.index)
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.history.add(p, r.limitLocked()) && r.err == nil {
		r.changed.Wait()
	}
	r.newest = p.time
	switch {
	case matches:
		r.triggerLocked(Request{})
	case r.writing && time.Now().Before(r.after):
		r.until = r.history.end
		r.changed.Broadcast()
	}
	return r.err
}

// wantsSample reports whether it is time to read the counts.
func (r *recorder) wantsSample(matches bool) bool {
	if r.history.end-r.sampled >= uint64(len(r.history.memory)/sampleParts) { // write alone changes these
		return true
	}
	if !matches {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.writing
}

// sampleLocked keeps the counts of now. after are counts that were read later, and read is the
// index of the packet that was read last.
func (r *recorder) sampleLocked(now, after capture.Stats, read uint32) {
	oldest := read
	if r.history.oldest < r.history.end {
		p, _ := r.history.packet(r.history.oldest, r.devices)
		oldest = p.index
	}
	r.losses.add(now, after, read, oldest)
	r.sampled = r.history.end
}

// limitLocked returns the position of the first packet whose place is not free.
func (r *recorder) limitLocked() uint64 {
	if r.writing {
		return r.written
	}
	return math.MaxUint64
}

// matches runs the trigger on a packet as it would be written.
func (r *recorder) matches(p *packet) bool {
	trigger := r.triggers[p.device.id]
	if trigger == nil {
		return false
	}
	r.frame = cbpf.Packet{Data: p.data, Len: uint32(p.len), Ifindex: uint32(p.device.index), Hatype: p.device.hatype}
	if p.outgoing {
		r.frame.PacketType = uint8(tpacket.PacketOutgoing)
	}
	return trigger.Run(&r.frame) != 0
}

// triggerLocked has all packets written that are in memory and in no file yet, to the file that
// is being written, if there is one.
func (r *recorder) triggerLocked(q Request) {
	if r.closed || r.err != nil {
		if q.Done != nil {
			go q.Done(Recording{}, errors.New("the capture has ended"))
		}
		return
	}
	r.until = r.history.end
	r.after = time.Now().Add(r.record.After)
	if q.Done != nil {
		r.asked = append(r.asked, q)
	}
	if r.writing {
		r.changed.Broadcast()
		return
	}
	r.startLocked()
}

// startLocked has a goroutine write packets to a file.
func (r *recorder) startLocked() {
	r.writing = true
	if r.oldest = math.MinInt64; r.record.Last > 0 {
		r.oldest = r.newest - int64(r.record.Last)
	}
	r.written = max(r.written, r.history.oldest)
	r.wg.Go(r.writeFile)
}

// writeFile writes packets to a new file until the trigger's time is over.
func (r *recorder) writeFile() {
	done, asked, err := r.writePackets()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.err = err
	case r.out.rotation.Files > 0 && r.out.count >= r.out.rotation.Files:
		r.err = errEnough
	}
	if err == nil {
		r.print(done)
	}
	if r.writing = false; r.err != nil {
		asked = append(asked, r.asked...)
		r.asked = nil
		r.wake()
	}
	for _, q := range asked {
		q.Done(done, err)
	}
	if r.err == nil && (r.until > r.written || len(r.asked) > 0) {
		r.startLocked() // for a trigger that came when the file's last packet was chosen already
	}
	r.changed.Broadcast()
}

// finishFile ends the file with the counts from those of first until after the packet last was
// read, and returns how many packets were dropped meanwhile.
func (r *recorder) finishFile(first sample, last uint32) (dropped uint64, err error) {
	now := r.out.stats()
	if r.out.before = now; r.out.file.packets > 0 {
		r.mu.Lock()
		if end, ok := r.losses.after(last); ok {
			now = end.stats
		}
		r.mu.Unlock()
		r.out.file.opened, r.out.before = first.time, first.stats
	}
	return now.Drops - r.out.before.Drops, r.out.finish(now)
}

// countsBefore returns the newest counts from before a packet was delivered.
func (r *recorder) countsBefore(index uint32) sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.losses.before(index)
}

// writePackets writes a file with the packets up to until. It returns the requests to which the
// file is the answer.
func (r *recorder) writePackets() (done Recording, asked []Request, err error) {
	if err := r.out.open(time.Now()); err != nil {
		return done, nil, err
	}
	done.File = r.out.file.name
	r.mu.Lock()
	at, oldest := r.written, r.oldest
	r.mu.Unlock()
	var first, last packet
	var began sample
	for {
		end, devices, asked := r.next(at)
		if at == end {
			done.Packets, done.Span = r.out.file.packets, time.Duration(last.time-first.time)
			done.Dropped, err = r.finishFile(began, last.index)
			return done, asked, err
		}
		for from := at; at < end && at-from < writeChunk; {
			var p packet
			if p, at = r.history.packet(at, devices); p.time < oldest {
				continue
			}
			if r.out.file.packets == 0 {
				first, began = p, r.countsBefore(p.index) // before the packet's place is freed
			}
			if err := r.out.file.write(&p); err != nil {
				return done, nil, err
			}
			last = p
		}
	}
}

// next waits for packets to write, and frees the place of those that were. It returns the
// position up to which packets can be written: at when there are no more, and then the requests
// so far. Later triggers are for another file.
func (r *recorder) next(at uint64) (end uint64, devices []*device, asked []Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = at
	r.changed.Broadcast()
	for at == r.until && !r.closed {
		left := time.Until(r.after)
		if left <= 0 {
			break
		}
		t := time.AfterFunc(left, r.changed.Broadcast)
		r.changed.Wait()
		t.Stop()
	}
	if at == r.until {
		asked, r.asked = r.asked, nil
	}
	return r.until, slices.Clip(r.devices), asked
}

func (r *recorder) idle() error { return nil }

func (r *recorder) due() time.Time { return time.Time{} }

func (r *recorder) tick() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// close ends the file that is being written. Packets that are only in memory are lost.
func (r *recorder) close(capture.Stats) error {
	close(r.stop)
	r.mu.Lock()
	r.closed = true
	r.changed.Broadcast()
	r.mu.Unlock()
	r.wg.Wait()
	err := r.err
	if errors.Is(err, errEnough) {
		err = nil
	}
	return errors.Join(err, r.out.close(capture.Stats{}))
}

func (r *recorder) files() int { return r.out.count }
