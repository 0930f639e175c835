package capfile

import (
	"errors"
	"fmt"
	"io"
)

// ErrFormat means that a file is no capture.
var ErrFormat = errors.New("neither pcap nor pcapng")

// ErrTruncated means that a file or a stream ends within a packet or another block, as after its
// writer was killed.
var ErrTruncated = errors.New("it ends within a packet or a header: let the capturing program end by itself or by SIGINT")

// Error is the error that ends reading a file early. It unwraps to [ErrTruncated], or to the
// decompressor's or the underlying reader's error.
type Error struct {
	Packets    int64 // whole ones before it
	Offset     int64 // bytes before the record in question
	Compressed bool  // Offset counts what the file decompresses to
	Err        error
}

func (e *Error) Error() string {
	of := ""
	if e.Compressed {
		of = " of what it decompresses to"
	}
	return fmt.Sprintf("after %d whole packets, at byte %d%s: %v", e.Packets, e.Offset, of, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// truncated returns err, or ErrTruncated for an unexpected end.
func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}
