package kring

import (
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// Device is a TAP or TUN device that is up. The test is the wire on its far
// side.
type Device struct {
	Name   string
	Index  int
	Hatype uint16  // ARPHRD_ETHER for a TAP, ARPHRD_NONE for a TUN
	Addr   [6]byte // a TAP's; a TUN has none

	ns        *Namespace
	wire      int   // /dev/net/tun
	queues    []int // the same, queues 1 and up of a TAP with several
	sender    int   // an AF_PACKET socket that never receives
	offloader int   // the same with PACKET_VNET_HDR; -1 until it is needed
}

// VnetHdr is a struct virtio_net_hdr (linux/virtio_net.h) as it is in memory:
// flags, gso_type, then hdr_len, gso_size, csum_start and csum_offset of 16
// bits each.
type VnetHdr [10]byte

// TAP makes an Ethernet device with the given interface index and address.
func (ns *Namespace) TAP(name string, index int, addr [6]byte) (*Device, error) {
	return ns.device(name, index, unix.IFF_TAP, addr)
}

// TAPQueues is TAP with n queues to receive on.
func (ns *Namespace) TAPQueues(name string, index int, addr [6]byte, n int) (*Device, error) {
	d, err := ns.device(name, index, unix.IFF_TAP|unix.IFF_MULTI_QUEUE, addr)
	if err != nil {
		return nil, err
	}
	for range n - 1 {
		err := ns.Do(func() error {
			fd, err := attach(name, unix.IFF_TAP|unix.IFF_MULTI_QUEUE, 0)
			d.queues = append(d.queues, fd)
			return err
		})
		if err != nil {
			d.Close()
			return nil, fmt.Errorf("device %s, queue %d: %w", name, len(d.queues), err)
		}
	}
	return d, nil
}

// TUN makes a device without a link-layer header: packets are bare IPv4 or
// IPv6.
func (ns *Namespace) TUN(name string, index int) (*Device, error) {
	return ns.device(name, index, unix.IFF_TUN, [6]byte{})
}

func (ns *Namespace) device(name string, index int, kind uint16, addr [6]byte) (*Device, error) {
	d := &Device{Name: name, Index: index, Hatype: unix.ARPHRD_NONE, Addr: addr, ns: ns, wire: -1, sender: -1, offloader: -1}
	if kind&unix.IFF_TAP != 0 {
		d.Hatype = unix.ARPHRD_ETHER
	}
	if err := ns.Do(func() error { return d.open(kind) }); err != nil {
		d.Close()
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return d, nil
}

// attach opens the wire of a device, which is made with the given index unless
// that is 0. The descriptor is valid, or -1, whatever the error.
func attach(name string, kind uint16, index int) (fd int, err error) {
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	if index != 0 {
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETIFINDEX, index); err != nil {
			return fd, fmt.Errorf("TUNSETIFINDEX %d: %w", index, err)
		}
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fd, err
	}
	ifr.SetUint16(kind | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fd, fmt.Errorf("TUNSETIFF: %w", err)
	}
	return fd, nil
}

func (d *Device) open(kind uint16) (err error) {
	if d.wire, err = attach(d.Name, kind, d.Index); err != nil {
		return err
	}
	d.sender, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket(AF_PACKET): %w", err)
	}
	if kind&unix.IFF_TAP != 0 {
		if err := d.setAddr(); err != nil {
			return fmt.Errorf("SIOCSIFHWADDR: %w", err)
		}
	}
	return d.SetUp(true)
}

func (d *Device) setAddr() error {
	var ifr struct {
		name   [unix.IFNAMSIZ]byte
		family uint16
		addr   [6]byte
		_      [16]byte // to the end of struct ifreq
	}
	copy(ifr.name[:], d.Name)
	ifr.family, ifr.addr = unix.ARPHRD_ETHER, d.Addr
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.sender), unix.SIOCSIFHWADDR, uintptr(unsafe.Pointer(&ifr)))
	if errno != 0 {
		return errno
	}
	return nil
}

// SetMTU sets the longest packet that the device takes for sending, without the
// link-layer header.
func (d *Device) SetMTU(bytes int) error {
	ifr, err := unix.NewIfreq(d.Name)
	if err != nil {
		return err
	}
	ifr.SetUint32(uint32(bytes))
	if err := unix.IoctlIfreq(d.sender, unix.SIOCSIFMTU, ifr); err != nil {
		return fmt.Errorf("SIOCSIFMTU %d: %w", bytes, err)
	}
	return nil
}

// SetUp takes the device up or down.
func (d *Device) SetUp(up bool) error {
	ifr, err := unix.NewIfreq(d.Name)
	if err != nil {
		return err
	}
	flags := uint16(0)
	if d.Hatype == unix.ARPHRD_NONE {
		flags = unix.IFF_NOARP
	}
	if up {
		flags |= unix.IFF_UP | unix.IFF_RUNNING
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(d.sender, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("SIOCSIFFLAGS %#x: %w", flags, err)
	}
	return nil
}

// KeepOffloads has the wire take packets as SendOffloaded sends them. Without
// it the kernel computes checksums and cuts segments first.
func (d *Device) KeepOffloads() error {
	const flags = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN | unix.TUN_F_USO4 | unix.TUN_F_USO6
	if err := unix.IoctlSetInt(d.wire, unix.TUNSETOFFLOAD, flags); err != nil {
		return fmt.Errorf("TUNSETOFFLOAD %#x: %w", flags, err)
	}
	return nil
}

// Receive makes packet arrive at the device.
func (d *Device) Receive(packet []byte) error { return d.ReceiveOffloaded(VnetHdr{}, packet) }

// ReceiveOffloaded makes packet arrive with the given offloads: a checksum
// still to be computed, or a segment larger than the wire's.
func (d *Device) ReceiveOffloaded(h VnetHdr, packet []byte) error {
	return d.write(d.wire, h, packet)
}

// ReceiveOn makes packet arrive on one of a TAP's queues, counted from 0.
func (d *Device) ReceiveOn(queue int, packet []byte) error {
	if queue == 0 {
		return d.Receive(packet)
	}
	return d.write(d.queues[queue-1], VnetHdr{}, packet)
}

func (d *Device) write(wire int, h VnetHdr, packet []byte) error {
	_, err := unix.Write(wire, slices.Concat(h[:], packet))
	return err
}

// Send makes packet leave through the device, link-layer header included.
// protocol is its EtherType in host byte order; with 0 the kernel determines it.
func (d *Device) Send(protocol uint16, packet []byte) error {
	return unix.Sendto(d.sender, packet, 0, &unix.SockaddrLinklayer{
		Protocol: tpacket.Htons(protocol),
		Ifindex:  d.Index,
	})
}

// SendOffloaded is Send with the given offloads.
func (d *Device) SendOffloaded(protocol uint16, h VnetHdr, packet []byte) error {
	if d.offloader < 0 {
		if err := d.ns.Do(d.openOffloader); err != nil {
			return err
		}
	}
	return unix.Sendto(d.offloader, slices.Concat(h[:], packet), 0, &unix.SockaddrLinklayer{
		Protocol: tpacket.Htons(protocol),
		Ifindex:  d.Index,
	})
}

func (d *Device) openOffloader() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket(AF_PACKET): %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		unix.Close(fd)
		return fmt.Errorf("PACKET_VNET_HDR: %w", err)
	}
	d.offloader = fd
	return nil
}

// Read takes the next packet off the wire: one that left through the device.
// It does not wait: EAGAIN when there is none.
func (d *Device) Read(packet []byte) (int, error) {
	_, n, err := d.ReadOffloaded(packet)
	return n, err
}

// ReadOffloaded is Read for a device that keeps offloads.
func (d *Device) ReadOffloaded(packet []byte) (h VnetHdr, n int, err error) {
	if n, err = unix.Readv(d.wire, [][]byte{h[:], packet}); err != nil {
		return h, 0, err
	}
	return h, n - len(h), nil
}

// Close takes the device away.
func (d *Device) Close() {
	for _, fd := range []*int{&d.wire, &d.sender, &d.offloader} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	for _, fd := range d.queues {
		unix.Close(fd)
	}
	d.queues = nil
}

// Offload has the device hand over packets with the given offloads undone: flags
// are TUN_F_* (linux/if_tun.h).
func (d *Device) Offload(flags int) error {
	if err := unix.IoctlSetInt(d.wire, unix.TUNSETOFFLOAD, flags); err != nil {
		return fmt.Errorf("TUNSETOFFLOAD %#x: %w", flags, err)
	}
	return nil
}
