//go:build !unix

package progress

import "os"

// IsTerminal says whether somebody sees what is drawn on f. Here it cannot tell.
func IsTerminal(*os.File) bool { return false }
