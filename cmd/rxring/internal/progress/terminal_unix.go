//go:build unix

package progress

import (
	"os"

	"golang.org/x/sys/unix"
)

// IsTerminal says whether somebody sees what is drawn on f.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil && os.Getenv("TERM") != "dumb"
}
