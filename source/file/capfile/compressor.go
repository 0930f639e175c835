package capfile

import (
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compressor compresses what is written to it. Close ends the compressed data, and does not
// close the underlying writer.
type Compressor interface {
	io.WriteCloser
	Flush() error // so that what was written so far can be decompressed
}

// NewGzip returns a compressor that is fast rather than thorough, as a capture needs it.
func NewGzip(w io.Writer) (Compressor, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) }

// NewZstd returns a compressor that is fast rather than thorough, as a capture needs it.
func NewZstd(w io.Writer) (Compressor, error) {
	// One at a time: it then has no goroutines.
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
}
