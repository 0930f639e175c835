package dump

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/source/file/capfile"
)

// filePerm keeps other users from reading captured packets.
const filePerm = 0o600

// packetBytes is the size in bytes of an enhanced packet block with flags and some padding,
// without the packet.
const packetBytes = 32 + 12

// compressEvery is the time between flushes of a compressed file while packets are few. Each
// flush costs some of the compression.
const compressEvery = time.Second

// captureFile is an open capture file.
type captureFile struct {
	name       string
	w          encoder
	compressor capfile.Compressor // nil: not compressed
	closer     io.Closer          // nil: standard output
	describe   func(*device) capfile.Interface

	extras     *capfile.ExtraCursor
	interfaces []described // by device.id
	opened     int64       // nanoseconds since the Unix epoch
	size       int64       // in bytes, approximately, before it is compressed
	packets    uint64
	flushed    time.Time // when the compressor was flushed
	dirty      bool      // the compressor has data that it did not write
}

// described is a device in a file.
type described struct {
	known bool
	id    int    // its number in the file
	wrote uint64 // packets
}

// createFile creates a file or, with stdout, writes to that.
func createFile(name string, stdout *os.File, as format, section capfile.Section, describe func(*device) capfile.Interface) (*captureFile, error) {
	f := &captureFile{name: name, describe: describe, opened: time.Now().UnixNano()}
	var w io.Writer = stdout
	if stdout == nil {
		created, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
		if err != nil {
			if p := new(fs.PathError); errors.As(err, &p) {
				err = p.Err
			}
			return nil, fmt.Errorf("-w %s: %w: want a file in a directory that is there, where this user may write", name, err)
		}
		f.closer, w = created, created
	}
	var err error
	if as.compress != nil {
		if f.compressor, err = as.compress(w); err != nil {
			return nil, f.failed(errors.Join(err, f.closer.Close()))
		}
		w = f.compressor
	}
	f.w, err = as.newEncoder(w, section)
	return f, err
}

// add describes devices in the file, so that it has them also if they have no packets.
func (f *captureFile) add(devices []*device) error {
	for _, d := range devices {
		if _, err := f.interfaceOf(d); err != nil {
			return err
		}
	}
	return nil
}

// interfaceOf returns a device in the file, which it describes before its first packet.
func (f *captureFile) interfaceOf(d *device) (*described, error) {
	for d.id >= len(f.interfaces) {
		f.interfaces = append(f.interfaces, described{})
	}
	i := &f.interfaces[d.id]
	if !i.known {
		var err error
		if i.id, err = f.w.AddInterface(f.describe(d)); err != nil {
			return nil, f.failed(err)
		}
		i.known = true
	}
	return i, nil
}

// writeExtra writes secrets and names. A pcap file has nothing but packets.
func (f *captureFile) writeExtra(e capfile.Extra) error {
	w, ok := f.w.(*capfile.Writer)
	if !ok {
		return nil
	}
	return f.failed(w.WriteExtra(e))
}

// addExtras writes what the sources have read since the file was opened. Comments are of a
// section, whose header is written already.
func (f *captureFile) addExtras() error {
	e, more := f.extras.Next()
	if !more {
		return nil
	}
	return f.writeExtra(e)
}

func (f *captureFile) write(p *packet) error {
	if err := f.addExtras(); err != nil {
		return err
	}
	i, err := f.interfaceOf(p.device)
	if err != nil {
		return err
	}
	direction := capfile.Inbound
	if p.outgoing {
		direction = capfile.Outbound
	}
	f.size += int64(len(p.data)+len(p.comment)) + packetBytes
	f.packets++
	i.wrote++
	f.dirty = true
	return f.failed(f.w.WriteCommented(i.id, max(p.time, 0), p.len, p.data, direction, p.comment))
}

// flush writes what is buffered for programs that follow the file. What is compressed is
// written once in compressEvery: see due.
func (f *captureFile) flush(now time.Time) error {
	err := f.addExtras()
	if err == nil {
		err = f.w.Flush()
	}
	if err == nil && f.compressor != nil && f.dirty && now.Sub(f.flushed) >= compressEvery {
		f.flushed, f.dirty = now, false
		err = f.compressor.Flush()
	}
	return f.failed(err)
}

// due returns when to flush the compressor; zero: never.
func (f *captureFile) due() time.Time {
	if f.compressor == nil || !f.dirty {
		return time.Time{}
	}
	return f.flushed.Add(compressEvery)
}

// finish ends the file with the counts since it was opened, and closes it.
func (f *captureFile) finish(s capture.Stats) error {
	err := f.addExtras()
	if err == nil {
		err = f.writeStats(s)
	}
	if err == nil {
		err = f.w.Flush()
	}
	if err == nil && f.compressor != nil {
		err = f.compressor.Close()
	}
	if f.closer != nil {
		err = errors.Join(err, f.closer.Close())
	}
	return f.failed(err)
}

// writeStats writes the statistics of each interface. What was received and dropped is known
// only for all of them together.
func (f *captureFile) writeStats(s capture.Stats) error {
	end := time.Now().UnixNano()
	var all []*described
	for i := range f.interfaces {
		if f.interfaces[i].known {
			all = append(all, &f.interfaces[i])
		}
	}
	for _, i := range all {
		stats := capfile.Stats{Time: end, Start: f.opened, End: end, Delivered: &i.wrote}
		if len(all) == 1 {
			stats.Received, stats.Dropped = &s.Packets, &s.Drops
		} else {
			stats.Comment = fmt.Sprintf("all %d interfaces together: %d packets received, %d dropped", len(all), s.Packets, s.Drops)
		}
		if err := f.w.WriteStats(i.id, stats); err != nil {
			return err
		}
	}
	return nil
}

// failed adds the file's name to an error.
func (f *captureFile) failed(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%s: the program that reads it has ended: %w", f.name, syscall.EPIPE)
	}
	if path := new(os.PathError); errors.As(err, &path) && f.closer != nil {
		return err // it has the name
	}
	return fmt.Errorf("%s: %w", f.name, err)
}
