package capfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

// zeros is a pcap file of n bytes: behind its header all are zero, so it has empty packets.
func zeros(n int) []byte {
	return append(pcapVariant{binary.LittleEndian, pcapMicro, pcapMajor, pcapMinor}.file(1), make([]byte, n-24)...)
}

// countAll reads all packets, and returns how many there were.
func countAll(r *Reader) (n int, err error) {
	for {
		if _, err := r.Next(); err != nil {
			return n, err
		}
		n++
	}
}

func TestAFileThatDecompressesToTooMuch(t *testing.T) {
	plain := zeros(24 + 16*100000)
	for name, file := range map[string][]byte{"gzip": gzipped(t, plain), "zstd": zstded(t, plain)} {
		for _, tt := range []struct {
			bound int64
			want  error
		}{{0, io.EOF}, {int64(len(plain)), io.EOF}, {1 << 20, ErrTooLong}} {
			r, err := NewBoundedReader(bytes.NewReader(file), Bounds{Decompressed: tt.bound})
			if err != nil {
				t.Fatal(err)
			}
			n, err := countAll(r)
			if !errors.Is(err, tt.want) || tt.want == io.EOF && n != 100000 {
				t.Errorf("%s, at most %d bytes: %d packets, %v", name, tt.bound, n, err)
			}
			if tt.want == ErrTooLong && !strings.HasSuffix(err.Error(), "it decompresses to more than 1MiB: decompress it first, and use the decompressed file") {
				t.Errorf("%s: %v", name, err)
			}
			r.Close()
		}
	}
	r, err := NewBoundedReader(bytes.NewReader(plain), Bounds{Decompressed: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := countAll(r); err != io.EOF || n != 100000 {
		t.Errorf("not compressed: %d packets, %v", n, err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	for name, file := range map[string][]byte{"plain": zeros(1 << 20), "gzip": gzipped(t, zeros(1<<20))} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := NewBoundedReader(bytes.NewReader(file), Bounds{Context: ctx})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if n, err := countAll(r); !errors.Is(err, context.Canceled) || n > readBuffer/16 {
			t.Errorf("%s: %d packets, %v", name, n, err)
		}
		r.Close()
	}
}
