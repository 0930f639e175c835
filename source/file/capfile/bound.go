package capfile

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rxring/rxring/internal/size"
)

// ErrTooLong means that a file decompresses to more than [Bounds] allows.
var ErrTooLong = errors.New("decompress it first, and use the decompressed file")

// Bounds limits the time and work that reading a file may take. The zero value sets no limits.
type Bounds struct {
	// Context ends reading with its error. It may be nil.
	Context context.Context
	// Decompressed bounds the decompressed size of a compressed file, in bytes; 0: no
	// bound. A file of 13 MB can decompress to 430 GB.
	Decompressed int64
}

// bounded reads r within bounds.
type bounded struct {
	r    io.Reader
	b    Bounds
	read int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if c := b.b.Context; c != nil && c.Err() != nil {
		return 0, c.Err()
	}
	n, err := b.r.Read(p)
	b.read += int64(n)
	if most := b.b.Decompressed; most > 0 && b.read > most {
		return 0, fmt.Errorf("it decompresses to more than %s: %w", size.Format(most), ErrTooLong)
	}
	return n, err
}
