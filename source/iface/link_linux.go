package iface

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/maxlen"
	"github.com/rxring/rxring/internal/suggest"
)

// link is the state of an interface.
type link struct {
	index  int
	name   string
	hatype uint16 // ARPHRD_*
	up     bool   // IFF_UP
	mtu    int    // bytes
}

// lengths are those of a device that represents an interface.
type lengths struct{ mtu, maxLen int }

// Largest MTUs of devices, in bytes: of loopback devices, and of others.
const (
	maxLoopbackMTU = 1 << 19
	maxMTU         = 65535
)

// lengths determines the longest packet in the calling thread's network namespace.
func (l *link) lengths() (lengths, error) {
	longest, err := maxlen.Of(l.name)
	if err != nil {
		return lengths{}, err
	}
	n := lengths{min(l.mtu, maxMTU), longest}
	if rxring.DeviceType(l.hatype) == rxring.Loopback {
		n.mtu = min(l.mtu, maxLoopbackMTU)
	}
	if longest == l.mtu { // no segments
		n.maxLen = n.mtu
	}
	return n, nil
}

// lookUp finds an interface by its name, lookUpIndex by its index, in the calling
// thread's network namespace; ENODEV if there is none.
func lookUp(name string) (link, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return link{}, suggest.NoInterface(name, err)
	}
	l, err := ask(r, unix.SIOCGIFINDEX)
	if err != nil {
		err = suggest.NoInterface(name, err)
	}
	return l, err
}

func lookUpIndex(index int) (link, error) {
	r, err := unix.NewIfreq("x") // SIOCGIFNAME overwrites it
	if err != nil {
		return link{}, err
	}
	r.SetUint32(uint32(index))
	return ask(r, unix.SIOCGIFNAME)
}

func ask(r *unix.Ifreq, first uint) (l link, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // ioctl accepts any socket
	if err != nil {
		return l, err
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, first, r); err != nil {
		return l, err
	}
	l.index, l.name = int(r.Uint32()), r.Name()
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, r); err != nil {
		return l, err
	}
	l.hatype = r.Uint16() // ifr_hwaddr.sa_family
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
		return l, err
	}
	l.up = r.Uint16()&unix.IFF_UP != 0
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFMTU, r); err != nil {
		return l, err
	}
	l.mtu = int(r.Uint32())
	return l, nil
}
