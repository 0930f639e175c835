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

// filePerm keeps other users from reading captured packets.
const filePerm = 0o600

// packetBytes is the size in bytes of an enhanced packet block with flags and some padding,
// without the packet.
const packetBytes = 32 + 12

// files writes packets into a sequence of pcapng files.
type files struct {
	rotation Rotation
	section  capfile.Section
	device   capfile.Interface
	stats    func() capture.Stats

	names  *namer
	start  time.Time // of the first period
	stdout *os.File  // nil: write files

	count  int             // files opened
	w      *capfile.Writer // nil: no file is open
	file   io.Closer
	name   string
	period int64         // index of the period of the file
	size   int64         // of the file in bytes, approximately
	wrote  uint64        // packets in the file
	opened int64         // nanoseconds since the Unix epoch
	before capture.Stats // at that time
}

func newFiles(d *dumper, stdout *os.File) (*files, error) {
	f := &files{
		rotation: d.Rotation,
		section:  capfile.Section{OS: runtime.GOOS, Application: "rxring dump " + d.Version},
		device:   capfile.Interface{Name: d.in.Device, LinkType: d.in.link, SnapLen: uint32(d.in.Handle.Snaplen()), Filter: d.Expression},
		stats: func() capture.Stats {
			s, _ := d.in.Handle.Stats() // with an error, the last known
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

// open opens the next file.
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
		if f.rotation.Files > 0 { // a packet delivered after the last period ended
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

// periodOf returns the index of the period of a packet with time t that is read now. Times
// of another clock, as in a capture file, are replaced by now.
func (f *files) periodOf(t int64, now time.Time) int64 {
	if t < f.start.UnixNano() || t > now.UnixNano() {
		t = now.UnixNano()
	}
	return (t - f.start.UnixNano()) / int64(f.rotation.Period)
}

// rotateSlack is the time after the end of a period in which its last packets may still be
// handed over: capture.Config.Retire, and some for a busy machine.
const rotateSlack = 250 * time.Millisecond

// due returns the end of the file's period, at which tick finishes the file even if no
// packet arrives.
func (f *files) due() time.Time {
	if f.rotation.Period == 0 || f.w == nil {
		return time.Time{}
	}
	return f.start.Add(time.Duration(f.period+1)*f.rotation.Period + rotateSlack)
}

// tick finishes the file. The next packet opens another one.
func (f *files) tick() error { return f.finish(f.stats()) }

// idle flushes the file for programs that follow it.
func (f *files) idle() error {
	if f.w == nil {
		return nil
	}
	return f.failed(f.w.Flush())
}

// finish closes the file, with the counts since it was opened.
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

// failed adds the file's name to an error.
func (f *files) failed(err error) error {
	if err == nil {
		return nil
	}
	if path := new(os.PathError); errors.As(err, &path) && f.stdout == nil {
		return err // it has the name
	}
	return fmt.Errorf("%s: %w", f.name, err)
}
