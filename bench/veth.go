package bench

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
)

// veth is a pair of devices, each in a network namespace of its own: what one
// sends the other receives. Both go with their namespaces.
type veth struct {
	near, far *kring.Namespace
	index     int // of vethNear
}

const (
	vethNear = "flood0"
	vethFar  = "sniff0"
)

// openVeth needs CAP_SYS_ADMIN and iproute2: errSkip without.
func openVeth() (v *veth, err error) {
	v = &veth{}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	for _, ns := range []**kring.Namespace{&v.near, &v.far} {
		if *ns, err = kring.New(); err != nil {
			return nil, fmt.Errorf("%w: no network namespace of its own: %w", errSkip, err)
		}
	}
	var far int
	if err := v.far.Do(func() error { far = unix.Gettid(); return nil }); err != nil {
		return nil, err
	}
	if err := ip(v.near, "link", "add", vethNear, "type", "veth", "peer", "name", vethFar, "netns", strconv.Itoa(far)); err != nil {
		return nil, err
	}
	if err := errors.Join(
		ip(v.near, "link", "set", vethNear, "arp", "off", "up"),
		ip(v.far, "link", "set", vethFar, "arp", "off", "up"),
		v.near.Do(func() (err error) { v.index, err = deviceIndex(vethNear); return err }),
	); err != nil {
		return nil, err
	}
	return v, nil
}

// ip runs iproute2's ip in a namespace.
func ip(ns *kring.Namespace, args ...string) error {
	path, err := exec.LookPath("ip")
	if err != nil {
		return fmt.Errorf("%w: %w", errSkip, err)
	}
	var said []byte
	if err := ns.Do(func() (err error) { said, err = exec.Command(path, args...).CombinedOutput(); return err }); err != nil {
		return fmt.Errorf("%w: ip %s: %w: %s", errSkip, strings.Join(args, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}

// deviceIndex is the index of a device in the calling thread's namespace.
func deviceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, fmt.Errorf("SIOCGIFINDEX %s: %w", name, err)
	}
	return int(ifr.Uint32()), nil
}

// flood sends from vethNear: see sender.flood.
func (v *veth) flood(s *sender, during time.Duration) (sent uint64, took time.Duration, err error) {
	err = v.near.Do(func() (err error) { sent, took, err = s.flood(during); return err })
	if err == nil && sent == 0 {
		err = errors.New("no packet was sent")
	}
	return sent, took, err
}

func (v *veth) close() {
	for _, ns := range []*kring.Namespace{v.near, v.far} {
		if ns != nil {
			ns.Close()
		}
	}
}
