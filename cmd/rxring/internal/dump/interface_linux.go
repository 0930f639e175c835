package dump

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/suggest"
)

// interfaceType returns the hardware type of a network interface.
func interfaceType(name string) (uint16, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, suggest.NoInterface(name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, r); err != nil {
		return 0, suggest.NoInterface(name, err)
	}
	return r.Uint16(), nil // ifr_hwaddr.sa_family
}
