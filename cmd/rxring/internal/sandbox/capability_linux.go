package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

type capabilities uint64

func set(caps ...uint) (c capabilities) {
	for _, n := range caps {
		c |= 1 << n
	}
	return c
}

var (
	// keptByUsers are the capabilities that users other than root keep: an interface is
	// opened for each first reader.
	keptByUsers = set(unix.CAP_NET_RAW)
	// keptByRoot is for files and sockets of others, for the send buffer of an interface
	// (SO_SNDBUFFORCE), for rings in locked memory, and for metrics at a port below 1024.
	keptByRoot = keptByUsers | set(unix.CAP_CHOWN, unix.CAP_FOWNER, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH,
		unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_IPC_LOCK, unix.CAP_SYS_RESOURCE)
)

// permitted is what the calling thread may have.
func permitted() (capabilities, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return capabilities(data[0].Permitted) | capabilities(data[1].Permitted)<<32, nil
}

// bound takes all others from the calling thread's bounding set: what it executes as
// root has no more. That takes CAP_SETPCAP; without it the set stays as it is.
func bound(kept capabilities) {
	for n := uintptr(0); n < 64; n++ {
		if kept&(1<<n) == 0 {
			unix.Prctl(unix.PR_CAPBSET_DROP, n, 0, 0, 0)
		}
	}
}

// keep leaves the calling thread, and what it executes, what it has of kept.
func keep(kept capabilities) error {
	have, err := permitted()
	if err != nil {
		return err
	}
	have &= kept
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	low, high := uint32(have), uint32(have>>32)
	data := [2]unix.CapUserData{{Effective: low, Permitted: low, Inheritable: low}, {Effective: high, Permitted: high, Inheritable: high}}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	for n := uintptr(0); n < 64; n++ {
		if have&(1<<n) != 0 {
			if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0); err != nil {
				return fmt.Errorf("PR_CAP_AMBIENT_RAISE %d: %w", n, err)
			}
		}
	}
	return nil
}
