package capfile

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds a zstd frame's window, in bytes: the zstd program's own default limit
// (ZSTD_WINDOWLOG_LIMIT_DEFAULT).
const maxWindow = 1 << 27

// magics are the first bytes of compressed files.
var magics = []struct {
	name  string
	bytes []byte
	open  func(io.Reader) (io.Reader, func(), error) // nil if the format is not supported
}{
	{"gzip", []byte{0x1f, 0x8b}, openGzip},
	{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}, openZstd},
	{"bzip2", []byte("BZh"), nil},
	{"xz", []byte{0xfd, '7', 'z', 'X'}, nil},
	{"lz4", []byte{0x04, 0x22, 0x4d, 0x18}, nil},
}

// decompress returns a reader of what r, which begins with magic, decompresses to, and a
// function that frees it; r itself if it is not compressed.
func decompress(r io.Reader, magic []byte) (_ io.Reader, name string, end func(), err error) {
	for _, m := range magics {
		if !bytes.HasPrefix(magic, m.bytes) {
			continue
		}
		if m.open == nil {
			return nil, "", nil, fmt.Errorf("%w: compressed by %s: decompress it first, or use gzip or zstd", ErrFormat, m.name)
		}
		plain, end, err := m.open(r)
		if err != nil {
			return nil, "", nil, fmt.Errorf("%s: %w", m.name, truncated(err))
		}
		return plain, m.name, end, nil
	}
	return r, "", func() {}, nil
}

func openGzip(r io.Reader) (io.Reader, func(), error) {
	z, err := gzip.NewReader(r)
	return z, func() {}, err
}

func openZstd(r io.Reader) (io.Reader, func(), error) {
	// One at a time: its reader then has no goroutines.
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}
