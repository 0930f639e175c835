package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/rxring/rxring/source/file/capfile"
)

// decoder reads the packets of batches. It must not be used concurrently.
type decoder struct {
	link   capfile.LinkType // that packets must have
	r      *capfile.Reader
	in     bytes.Reader
	buffer []byte
	err    error          // of an interface
	packet capfile.Packet // passed to f: a local one would be allocated
}

// each calls f with each packet of a batch. Packets before an error have been passed to f.
func (d *decoder) each(payload []byte, encoding string, f func(*capfile.Packet) error) error {
	if len(payload) == 0 {
		return nil
	}
	plain, err := decompress(d.buffer, payload, encoding)
	if err != nil {
		return err
	}
	if encoding != "" {
		d.buffer = plain
	}
	d.err = nil
	d.in.Reset(plain)
	if err := d.open(); err != nil {
		return err
	}
	for {
		var err error
		d.packet, err = d.r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = d.err
		}
		if err == nil {
			err = f(&d.packet)
		}
		if err != nil {
			return err
		}
	}
}

func (d *decoder) open() (err error) {
	if d.r != nil {
		return d.r.Reset(&d.in)
	}
	if d.r, err = capfile.NewBoundedReader(&d.in, capfile.Bounds{Decompressed: maxDecoded}); err != nil {
		d.r = nil
		return err
	}
	d.r.SetEvents(capfile.Events{Interface: func(_ int, i capfile.Interface) {
		if i.LinkType != d.link {
			d.err = fmt.Errorf("batch with link type %v: want that of its device, %v", i.LinkType, d.link)
		}
	}})
	return nil
}

func (d *decoder) close() {
	if d.r != nil {
		d.r.Close()
	}
}
