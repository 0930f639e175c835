package bench

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
)

// tap is a TAP device in a network namespace of its own: one writes packets to
// a descriptor, and the kernel takes them as if they had come from a wire. They
// are addressed to another host, so the kernel drops them once packet sockets
// have had their look.
//
// kring has TAP devices too, but theirs carry an offload header in front of
// each packet, put there with an allocation that is not the kernel's cost.
type tap struct {
	ns     *kring.Namespace
	fd     int
	packet []byte
	sent   uint64
	err    error
}

const tapName = "tap0"

// openTAP needs CAP_SYS_ADMIN and CAP_NET_ADMIN: errSkip without.
func openTAP(size int) (*tap, error) {
	ns, err := kring.New()
	if err != nil {
		return nil, fmt.Errorf("%w: no network namespace of its own: %w", errSkip, err)
	}
	t := &tap{ns: ns, fd: -1, packet: packet(size)}
	if err := ns.Do(t.open); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: no TAP device: %w", errSkip, err), t.close())
	}
	return t, nil
}

func (t *tap) open() (err error) {
	t.fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	ifr, err := unix.NewIfreq(tapName)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(t.fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(control)
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP)
	if err := unix.IoctlIfreq(control, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("SIOCSIFFLAGS: %w", err)
	}
	return nil
}

func (t *tap) send(n int) {
	for range n {
		if _, err := unix.Write(t.fd, t.packet); err != nil {
			t.err = fmt.Errorf("write %d bytes to the TAP device: %w", len(t.packet), err)
			return
		}
	}
	t.sent += uint64(n)
}

func (t *tap) empty() {}

// settle believes the device's own count of packets received.
func (t *tap) settle() (tally, error) {
	if t.err != nil {
		return tally{}, t.err
	}
	packets, bytes, err := t.received()
	return tally{accepted: t.sent, read: packets, bytes: bytes}, err
}

// received reads the device's counters off /proc/net/dev, in its namespace.
func (t *tap) received() (packets, bytes uint64, err error) {
	err = t.ns.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		packets, bytes, err = parseNetDev(string(b), tapName)
		return err
	})
	return packets, bytes, err
}

// parseNetDev finds what a device has received in /proc/net/dev.
func parseNetDev(text, name string) (packets, bytes uint64, err error) {
	for line := range strings.Lines(text) {
		if counters, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			_, err := fmt.Sscan(counters, &bytes, &packets)
			return packets, bytes, err
		}
	}
	return 0, 0, fmt.Errorf("no device %s in /proc/net/dev", name)
}

func (t *tap) close() error {
	var err error
	if t.fd >= 0 {
		err = unix.Close(t.fd) // the device goes with it
	}
	t.ns.Close()
	return err
}

// watchedTAP is a TAP device with tcpdump on it, which reads the kernel's own
// packet ring.
type watchedTAP struct {
	*tap
	dump *tcpdump
}

func openWatchedTAP(size int) (session, error) {
	t, err := openTAP(size)
	if err != nil {
		return nil, err
	}
	w := &watchedTAP{tap: t}
	if w.dump, err = kernelTcpdump(t.ns); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return w, nil
}

func (w *watchedTAP) settle() (tally, error) {
	if w.err != nil {
		return tally{}, w.err
	}
	return w.dump.settle(w.sent, len(w.packet))
}

func (w *watchedTAP) close() error {
	return errors.Join(w.dump.stop(), w.tap.close())
}
