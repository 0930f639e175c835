package fleet

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression is how batches are compressed.
type Compression string

const (
	Auto Compression = "auto" // S2 while it makes a sampled batch a third shorter, otherwise none
	None Compression = "none"
	S2   Compression = "s2"
	Zstd Compression = "zstd" // at its fastest
)

// Compressions are all.
var Compressions = []Compression{Auto, None, S2, Zstd}

// ParseCompression returns the compression of that name; "": Auto.
func ParseCompression(name string) (Compression, error) {
	if name == "" {
		return Auto, nil
	}
	c := Compression(name)
	return c, c.check()
}

func (c Compression) check() error {
	if slices.Contains(Compressions, c) {
		return nil
	}
	var names []string
	for _, c := range Compressions {
		names = append(names, string(c))
	}
	return fmt.Errorf("compress %q: want %s", string(c), strings.Join(names, ", "))
}

// sampleEvery is the number of batches of which Auto compresses one to decide about the others. One
// that is shorter than sampleLen, such as a session's first packet, decides only about itself.
const (
	sampleEvery = 64
	sampleLen   = 4 << 10
)

// compressor compresses a session's batches. It must not be used concurrently.
type compressor struct {
	is     Compression
	n      int         // batches so far, without short ones that were compressed to decide
	now    Compression // of Auto
	zstd   *zstd.Encoder
	buffer []byte
}

// compress returns b or, if that is shorter, its compressed form, valid until the next call, and
// the encoding.
func (c *compressor) compress(b []byte) (payload []byte, encoding string, err error) {
	use := c.is
	if use == Auto {
		if c.n%sampleEvery == 0 {
			c.now = S2
			if payload = c.s2(b); len(payload) > len(b)*2/3 {
				c.now = None
			}
		}
		if c.n%sampleEvery != 0 || len(b) >= sampleLen {
			c.n++
		}
		use = c.now
	}
	switch use {
	case None:
		return b, "", nil
	case S2:
		if payload == nil { // not the sample
			payload = c.s2(b)
		}
	case Zstd:
		if c.zstd == nil {
			if c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
				return nil, "", err
			}
		}
		c.buffer = c.zstd.EncodeAll(b, c.buffer[:0])
		payload = c.buffer
	}
	if payload == nil || len(payload) >= len(b) {
		return b, "", nil
	}
	return payload, string(use), nil
}

func (c *compressor) s2(b []byte) []byte {
	return s2.Encode(c.grow(s2.MaxEncodedLen(len(b))), b)
}

func (c *compressor) grow(n int) []byte {
	c.buffer = slices.Grow(c.buffer[:0], max(n, 0))[:max(n, 0)]
	return c.buffer
}

// zstdDecoder decodes whole batches, for any number of goroutines.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxDecoded))
})

// decompress returns the payload's content, in buffer if that has room.
func decompress(buffer, payload []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "":
		return payload, nil
	case string(S2):
		n, err := s2.DecodedLen(payload)
		if err != nil {
			return nil, fmt.Errorf("s2: %w", err)
		}
		if n > maxDecoded {
			return nil, fmt.Errorf("s2: batch of %d bytes: want at most %d", n, maxDecoded)
		}
		return s2.Decode(slices.Grow(buffer[:0], n)[:n], payload)
	case string(Zstd):
		d, err := zstdDecoder()
		if err != nil {
			return nil, err
		}
		return d.DecodeAll(payload, buffer[:0])
	}
	return nil, fmt.Errorf("batch with Content-Encoding %q: want none, s2 or zstd", encoding)
}
