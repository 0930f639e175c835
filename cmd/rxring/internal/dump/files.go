package dump

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cmd/rxring/internal/progress"
	"github.com/rxring/rxring/source/file/capfile"
)

// filePerm is a capture file's: what passes a network is nobody else's to read.
const filePerm = 0o600

// packetBytes is what a pcapng file needs beside a packet's bytes: an enhanced packet
// block with flags, and up to 3 bytes of padding.
const packetBytes = 32 + 12

// files writes packets to pcapng files, one after the other.
type files struct {
	rotation Rotation
	section  capfile.Section
	device   capfile.Interface
	stats    func() capture.Stats

	names  *namer
	start  time.Time // of the first period
	stdout *os.File  // nil: to files

	count  int
	w      *capfile.Writer
	file   io.Closer
	name   string
	period int64 // whose file it is
	size   int64 // of the file, about
	wrote  uint64
	opened int64
	before capture.Stats // when it was opened
}

func newFiles(d *dumper, stdout *os.File) (*files, error) {
	f := &files{
		rotation: d.Rotation,
		section:  capfile.Section{OS: runtime.GOOS, Application: "rxring dump " + d.Version},
		device:   capfile.Interface{Name: d.in.Device, LinkType: d.in.link, SnapLen: uint32(d.in.Handle.Snaplen()), Filter: d.Expression},
		stats: func() capture.Stats {
			s, _ := d.in.Handle.Stats() // the last that is known
			return s
		},
		start: d.start,
	}
	if d.File == "-" {
		if progress.IsTerminal(stdout) {
			return nil, errors.New("-w -: standard output is a terminal: want a pipe or a file, or lines of text without -w")
		}
		f.stdout = stdout
	} else {
		var err error
		if f.names, err = newNamer(d.File, d.Rotation); err != nil {
			return nil, err
		}
	}
	return f, f.open(0)
}

// open begins the next file.
func (f *files) open(period int64) error {
	var w io.Writer = f.stdout
	f.name = "standard output"
	if f.stdout == nil {
		f.name = f.names.next(f.start.Add(time.Duration(period) * f.rotation.Period))
		file, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
		if err != nil {
			if p := new(fs.PathError); errors.As(err, &p) {
				err = p.Err
			}
			return fmt.Errorf("-w %s: %w: want a file in a directory that is there, where this user may write", f.name, err)
		}
		f.file, w = file, file
	}
	f.period, f.size, f.wrote, f.opened = period, 0, 0, time.Now().UnixNano()
	f.count++
	var err error
	if f.w, err = capfile.NewWriter(w, f.section); err == nil {
		_, err = f.w.AddInterface(f.device)
	}
	return err
}

func (f *files) write(p *packet) error {
	full := f.rotation.Size > 0 && f.size > f.rotation.Size
	period := f.period
	if f.rotation.Period > 0 {
		period = max(period, f.periodOf(p.time, time.Now()))
		if f.w == nil { // that period is over
			period = max(period, f.period+1)
		}
		if f.rotation.Files > 0 { // what was let in at the very end
			period = min(period, int64(f.rotation.Files)-1)
		}
	}
	if full || period != f.period {
		if err := f.finish(f.stats()); err != nil {
			return err
		}
		if err := f.open(period); err != nil {
			return err
		}
	}
	f.size += int64(len(p.data)) + packetBytes
	f.wrote++
	direction := capfile.Inbound
	if p.outgoing {
		direction = capfile.Outbound
	}
	return f.failed(f.w.WritePacket(0, max(p.time, 0), p.len, p.data, direction))
}

// periodOf is the period of a packet with time t, which is read now. Packets of another
// clock, as of a capture file, count by now.
func (f *files) periodOf(t int64, now time.Time) int64 {
	if t < f.start.UnixNano() || t > now.UnixNano() {
		t = now.UnixNano()
	}
	return (t - f.start.UnixNano()) / int64(f.rotation.Period)
}

// rotateSlack is how long after the end of a period its last packets may be handed over:
// a block's time (capture.Config.Retire), and some for a busy machine.
const rotateSlack = 250 * time.Millisecond

// due is when tick is to be called though no packet comes: at the end of the file's
// period.
func (f *files) due() time.Time {
	if f.rotation.Period == 0 || f.w == nil {
		return time.Time{}
	}
	return f.start.Add(time.Duration(f.period+1)*f.rotation.Period + rotateSlack)
}

// tick finishes the file of a period that is over. The next packet begins another.
func (f *files) tick() error { return f.finish(f.stats()) }

// idle hands what there is to who follows the file.
func (f *files) idle() error {
	if f.w == nil {
		return nil
	}
	return f.failed(f.w.Flush())
}

// finish ends a file with what is counted since it began.
func (f *files) finish(now capture.Stats) error {
	if f.w == nil {
		return nil
	}
	received, dropped := now.Packets-f.before.Packets, now.Drops-f.before.Drops
	f.before = now
	end := time.Now().UnixNano()
	err := f.w.WriteStats(0, capfile.Stats{
		Time: end, Start: f.opened, End: end,
		Received: &received, Dropped: &dropped, Delivered: &f.wrote,
	})
	if err == nil {
		err = f.w.Flush()
	}
	if f.file != nil {
		err = errors.Join(err, f.file.Close())
	}
	f.w, f.file = nil, nil
	return f.failed(err)
}

func (f *files) close(last capture.Stats) error { return f.finish(last) }

func (f *files) files() int { return f.count }

// failed says which file an error is of.
func (f *files) failed(err error) error {
	if err == nil {
		return nil
	}
	if path := new(os.PathError); errors.As(err, &path) && f.stdout == nil {
		return err // which has its name
	}
	return fmt.Errorf("%s: %w", f.name, err)
}
