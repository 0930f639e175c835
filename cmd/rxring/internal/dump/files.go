package dump

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cmd/rxring/internal/progress"
	"github.com/rxring/rxring/source/file/capfile"
)

// files writes packets into a sequence of files.
type files struct {
	rotation Rotation
	format   format
	section  capfile.Section
	extras   []*capfile.Extras
	describe func(*device) capfile.Interface
	named    []*device // described in each file
	stats    func() capture.Stats

	hook     *hook    // nil: no command
	finished []string // with Rotation.Keep, the files that are there

	names  *namer
	start  time.Time // of the first period
	stdout *os.File  // nil: write files
	fifo   bool      // stdout is a FIFO of the name, which is to be closed

	count  int           // files opened
	file   *captureFile  // nil: none is open
	period int64         // index of the period of the file
	before capture.Stats // when the file was opened
}

// newFiles returns the files that d writes, without opening one.
func newFiles(d *dumper) (*files, error) {
	f := &files{
		rotation: d.Rotation,
		format:   formatOf(d.File),
		section:  capfile.Section{OS: runtime.GOOS, Application: "rxring dump " + d.Version},
		extras:   d.in.Extras,
		describe: d.describe,
		stats: func() capture.Stats {
			s, _ := d.in.Handle.Stats() // with an error, the last known
			return s
		},
		named: d.in.named(),
		start: d.start,
	}
	if d.Command != "" {
		f.hook = &hook{command: d.Command, stderr: d.stderr}
	}
	var err error
	f.names, err = d.namer()
	return f, err
}

// openFiles returns the files that d writes, with the first one open.
func openFiles(ctx context.Context, d *dumper, stdout *os.File) (*files, error) {
	f, err := newFiles(d)
	if err != nil {
		return nil, err
	}
	if d.File == "-" {
		if progress.IsTerminal(stdout) {
			return nil, errors.New("-w -: standard output is a terminal: want a pipe or a file, or lines of text without -w")
		}
		f.stdout, d.pipe = stdout, stdout
	} else if info, err := os.Stat(d.File); err == nil && info.Mode()&fs.ModeNamedPipe != 0 && !d.Rotation.rotates() {
		if d.pipe, err = OpenFIFO(ctx, d.File); err != nil {
			return nil, fmt.Errorf("-w %w", err)
		}
		f.stdout, f.fifo = d.pipe, true
	}
	return f, f.openPeriod(0)
}

// describe returns a device's description in a file.
func (d *dumper) describe(dev *device) capfile.Interface {
	return capfile.Interface{Name: dev.name, LinkType: dev.link, SnapLen: uint32(d.in.Handle.Snaplen()), Filter: d.Expression}
}

// openPeriod opens the next file, of a period.
func (f *files) openPeriod(period int64) error {
	f.period = period
	return f.open(f.start.Add(time.Duration(period) * f.rotation.Period))
}

// open opens the next file, named for a time.
func (f *files) open(at time.Time) error {
	name := "standard output"
	if f.fifo {
		name = f.stdout.Name()
	} else if f.stdout == nil {
		name = f.names.next(at)
		if err := f.removeOld(); err != nil {
			return err
		}
	}
	f.count++
	var err error
	extras := capfile.NewExtraCursor(f.extras)
	extra, _ := extras.Next()
	section := f.section
	section.Comments = extra.Comments
	if f.file, err = createFile(name, f.stdout, f.format, section, f.describe); err != nil {
		return err
	}
	f.file.extras = extras
	if f.fifo {
		f.file.closer = f.stdout
	}
	if err := f.file.writeExtra(extra); err != nil {
		return err
	}
	return f.file.add(f.named)
}

// removeOld removes the oldest files, so that one more can be opened. A command runs for them
// first.
func (f *files) removeOld() error {
	for keep := f.rotation.Keep; keep > 0 && len(f.finished) >= keep; f.finished = f.finished[1:] {
		if f.hook != nil {
			f.hook.add(hookJob{f.finished[0], true})
		} else if err := removeFile(f.finished[0]); err != nil {
			return fmt.Errorf("--keep %d: %w", keep, err)
		}
	}
	return nil
}

// removeFile removes a file that may have been removed or renamed before.
func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *files) write(p *packet) error {
	full := f.file != nil && f.rotation.full(f.file)
	period := f.period
	if f.rotation.Period > 0 {
		period = max(period, f.periodOf(p.time, time.Now()))
		if f.file == nil { // that period is over
			period = max(period, f.period+1)
		}
		if f.rotation.Files > 0 { // a packet delivered after the last period ended
			period = min(period, int64(f.rotation.Files)-1)
		}
	}
	if full || f.file == nil || period != f.period {
		if err := f.finish(f.stats()); err != nil {
			return err
		}
		if err := f.openPeriod(period); err != nil {
			return err
		}
	}
	return f.file.write(p)
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

// due returns when tick has something to do: at the end of the file's period, or when its
// compressor is to be flushed.
func (f *files) due() time.Time {
	if f.file == nil {
		return time.Time{}
	}
	flush, end := f.file.due(), f.periodEnd()
	if flush.IsZero() || !end.IsZero() && end.Before(flush) {
		return end
	}
	return flush
}

// periodEnd returns when the file is finished even if no packet arrives; zero: never.
func (f *files) periodEnd() time.Time {
	if f.rotation.Period == 0 {
		return time.Time{}
	}
	return f.start.Add(time.Duration(f.period+1)*f.rotation.Period + rotateSlack)
}

// tick finishes a file whose period is over; the next packet opens another one. Otherwise it
// flushes the file.
func (f *files) tick() error {
	if f.file == nil {
		return nil
	}
	now := time.Now()
	if end := f.periodEnd(); !end.IsZero() && !now.Before(end) {
		return f.finish(f.stats())
	}
	return f.file.flush(now)
}

// idle flushes the file for programs that follow it.
func (f *files) idle() error {
	if f.file == nil {
		return nil
	}
	return f.file.flush(time.Now())
}

// finish closes the file, with the counts since it was opened.
func (f *files) finish(now capture.Stats) error {
	if f.file == nil {
		return nil
	}
	since := capture.Stats{Packets: now.Packets - f.before.Packets, Drops: now.Drops - f.before.Drops}
	f.before = now
	err := f.file.finish(since)
	if err == nil && f.stdout == nil {
		if f.rotation.Keep > 0 {
			f.finished = append(f.finished, f.file.name)
		}
		if f.hook != nil {
			f.hook.add(hookJob{name: f.file.name})
		}
	}
	f.file = nil
	return err
}

func (f *files) close(last capture.Stats) error {
	err := f.finish(last)
	if f.hook != nil {
		err = errors.Join(err, f.hook.wait())
	}
	return err
}

func (f *files) files() int { return f.count }
