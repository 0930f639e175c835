package fleet

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nuid"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/tap"
)

// Headers of a recording's batches, besides those of a session's.
const (
	headerBegan   = "Rxring-Began"   // when the recorder was started: nanoseconds since the Unix epoch
	headerPackets = "Rxring-Packets" // in this batch
)

// recorder records the packets of one device that one filter accepts. All its work is done by
// run, in one goroutine. Like a session's, its tap's ring is the only buffer: while batches cannot
// be stored, the ring fills, and drops.
type recorder struct {
	s       *Shipper
	name    string // of the recording
	class   string
	session string // unique among all sessions, also those that have ended
	dev     *rxring.Device
	tap     *tap.Tap
	out     *appender
	ctx     context.Context // until the shipper is closed
	began   time.Time

	encoder encoder
	counts  counts // Batches and Packets are those given to out
	told    counts // those that readers know

	packets, batches, bytes atomic.Uint64 // given to out
}

const (
	// ackPoll is the time between checks for acknowledgements while no packets arrive.
	ackPoll = 100 * time.Millisecond
	// idleTime is the time between checks for losses while no packets arrive.
	idleTime = time.Second
	// storeTime bounds the wait for acknowledgements at the end.
	storeTime = 3 * time.Second
)

// newRecorder creates the stream, and opens the tap.
func (r *records) newRecorder(d *rxring.Device, class *Class, c Recording) (*recorder, error) {
	var programs [][]cbpf.Instruction
	if c.Program != nil {
		prog, err := c.Program(d)
		if err != nil {
			return nil, err
		}
		if prog != nil {
			programs = append(programs, prog)
		}
	}
	stream, err := r.createStream(d, c)
	if err != nil {
		return nil, err
	}
	rec := &recorder{s: r.s, name: c.Name, class: c.Class, session: nuid.Next(), dev: d, ctx: r.ctx}
	rec.out = newAppender(r.js, stream, rec.session, r.s.log)
	rec.tap, err = tap.Open(d, tap.Config{Programs: programs, Snaplen: c.Snaplen, Promiscuous: !class.Grant.NoPromiscuous, Buffer: r.s.cfg.Buffer, Retire: retire, Grant: class.recordingGrant(), Open: r.s.cfg.Open})
	if err != nil {
		return nil, err
	}
	rec.began = time.Now()
	rec.encoder.start = rec.began
	rec.encoder.compressor.is = Zstd
	rec.encoder.iface = capfile.Interface{Name: d.Name(), Description: r.s.cfg.Host + "/" + d.Name(), LinkType: rec.tap.LinkType(), SnapLen: uint32(rec.tap.Snaplen())}
	return rec, nil
}

// run records until the shipper is closed or the device removed.
func (r *recorder) run() {
	r.s.log.Info("fleet: recording", "recording", r.name, "device", r.dev.Name(), "class", r.class, "stream", r.out.stream)
	why := r.record()
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	r.drain(ctx)
	r.tap.Close()
	r.publish(ctx, why)
	unstored := r.out.flush(ctx)
	r.s.log.Info("fleet: recording ended", "recording", r.name, "device", r.dev.Name(), "why", why,
		"packets", r.counts.Packets, "dropped", r.told.Dropped, "lost", r.told.Lost, "unstored", unstored)
}

func (r *recorder) record() (why string) {
	r.tap.SetDeadline(time.Now().Add(idleTime))
	for r.ctx.Err() == nil { // Next does not inspect it while it has packets
		p, ok, err := r.tap.Next(r.ctx)
		switch {
		case err == nil && ok:
			r.add(r.ctx, &p)
		case err == nil, r.ctx.Err() != nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.tick()
		case errors.Is(err, syscall.ENETDOWN) && slices.Contains(r.dev.Namespace().Devices(), r.dev):
			// It is down; reported once.
		default:
			return endRemoved
		}
	}
	return endClosed
}

// drain records the packets that are in the ring, for drainTime at most.
func (r *recorder) drain(ctx context.Context) {
	offered, end := r.tap.Stats().Offered, time.Now().Add(drainTime)
	for time.Now().Before(end) {
		if now := r.tap.Stats(); now.Read+now.Dropped+now.Lost >= offered {
			return
		}
		r.tap.SetDeadline(end)
		p, ok, err := r.tap.Next(ctx)
		if err != nil && !errors.Is(err, syscall.ENETDOWN) {
			return
		}
		if err == nil && ok {
			r.add(ctx, &p)
		}
	}
}

// add adds a packet to the batch, and publishes batches that are full.
func (r *recorder) add(ctx context.Context, p *capfile.Packet) {
	if !r.encoder.room(p) {
		r.publish(ctx, "")
	}
	first := r.encoder.n == 0
	if first {
		r.encoder.limit = r.s.batchLimit()
	}
	if err := r.encoder.add(p); err != nil {
		r.s.log.Error("fleet: a packet cannot be encoded", "device", r.dev.Name(), "err", err)
	}
	switch {
	case r.encoder.size >= r.encoder.limit, time.Since(r.encoder.began) >= linger:
		r.publish(ctx, "")
	case first:
		r.tap.SetDeadline(r.encoder.began.Add(linger))
	}
}

// tick does what is due when no packet arrives.
func (r *recorder) tick() {
	if c := r.totals(); r.encoder.n > 0 || c.Dropped != r.told.Dropped || c.Lost != r.told.Lost {
		r.publish(r.ctx, "")
		return
	}
	r.out.poll(r.ctx)
	wait := idleTime
	if len(r.out.pending) > 0 {
		wait = ackPoll
	}
	r.tap.SetDeadline(time.Now().Add(wait))
}

// publish stores the batch, which may be empty, with the counts. It waits while too many batches
// are not acknowledged.
func (r *recorder) publish(ctx context.Context, end string) {
	n := r.encoder.n
	b := batch{Session: r.session, Sent: time.Now(), End: end, counts: r.totals()}
	payload, encoding, err := r.encoder.end(b.counts)
	if err != nil {
		r.s.log.Error("fleet: a batch cannot be encoded", "device", r.dev.Name(), "packets", n, "err", err)
	}
	b.Encoding = encoding
	h := b.header()
	h.Set(headerBegan, strconv.FormatInt(r.began.UnixNano(), 10))
	h.Set(headerPackets, strconv.Itoa(n))
	r.told = b.counts
	r.counts.Batches++
	r.counts.Packets += uint64(n)
	r.packets.Store(r.counts.Packets)
	r.batches.Store(r.counts.Batches)
	r.bytes.Add(uint64(len(payload)))
	r.out.append(ctx, h, payload, b.Batches, n)
	r.tap.SetDeadline(time.Now().Add(ackPoll))
}

func (r *recorder) totals() counts { return r.counts.with(r.tap.Stats(), &r.encoder) }
