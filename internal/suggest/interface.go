package suggest

import (
	"net"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// maxInterfaceName is IFNAMSIZ-1 (linux/if.h).
const maxInterfaceName = 15

// NoInterface says what to write in the place of name, which could not be looked up in the
// calling thread's network namespace. It unwraps to cause, the errno of that; one that says
// nothing of the name is returned as it is.
func NoInterface(name string, cause error) error {
	switch {
	case len(name) > maxInterfaceName:
		return explain.Errorf(cause, "want a name of 1 to %d bytes", maxInterfaceName)
	case cause != syscall.ENODEV:
		return cause
	}
	var names []string
	all, _ := net.Interfaces() // without the list, the reason is still true
	for _, i := range all {
		names = append(names, i.Name)
	}
	return explain.Errorf(cause, "there is no such interface: %s", Among(name, names))
}
