//go:build !linux

package feed

import (
	"io"
	"os"
)

// openFIFO opens the FIFO in a goroutine of its own: open(2) blocks until a writer has opened it.
func openFIFO(path string) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		f, err := os.Open(path)
		if err == nil {
			_, err = io.Copy(w, f)
			f.Close()
		}
		w.CloseWithError(err)
	}()
	return r, nil
}
