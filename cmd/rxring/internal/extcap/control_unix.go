//go:build unix

package extcap

import (
	"os"
	"syscall"
)

// openControl opens a FIFO for reading. That it is open for writing, too, keeps it from ending
// before its writer has opened it.
func openControl(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
}
