package file

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/delivery"
	"github.com/rxring/rxring/source/file/linktype"
)

// Lengths in bytes, and the VLAN tags that a frame may have beyond the MTU.
const (
	etherLen  = 14
	vlanLen   = 4
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
)

// payload returns the packet's length without its link-layer header, which the MTU bounds.
func payload(t capfile.LinkType, p *capfile.Packet) int {
	if t != capfile.LinkEthernet {
		if link, err := linktype.Of(t); err == nil {
			shown, _ := link.Decode(p.Data)
			return p.Len - (len(p.Data) - len(shown.Data))
		}
		return p.Len
	}
	header := etherLen
	for len(p.Data) >= header {
		if t := int(p.Data[header-2])<<8 | int(p.Data[header-1]); t != etherVLAN && t != etherQinQ {
			break
		}
		header += vlanLen
	}
	return p.Len - header
}

// plan plans a device for each interface whose packets a device can show.
func (f *File) plan(longest []int, packets []int64) error {
	if len(f.interfaces) == 0 {
		return errors.New("it tells of no interface: nothing was captured")
	}
	f.device, f.unused = make([]int, len(f.interfaces)), make([]bool, len(f.interfaces))
	var first error
	for i, in := range f.interfaces {
		link, err := linktype.Of(in.LinkType)
		if err == nil {
			f.device[i] = len(f.devices)
			mtu := min(max(longest[i], delivery.DefaultMTU), math.MaxUint16)
			f.devices = append(f.devices, kind{in.Name, link, mtu, min(max(longest[i], mtu), delivery.MaxSegment)})
			continue
		}
		err = fmt.Errorf("%s has packets of %w", interfaceName(in), err)
		if first == nil {
			first = err
		}
		if f.device[i], f.unused[i] = -1, packets[i] == 0; packets[i] > 0 {
			f.info.LeftOut = append(f.info.LeftOut, fmt.Errorf("%w: its %d packets are left out", err, packets[i]))
		}
	}
	if len(f.devices) == 0 {
		return first
	}
	return nil
}

func interfaceName(in capfile.Interface) string {
	if in.Name == "" {
		return "its interface"
	}
	return fmt.Sprintf("interface %q", in.Name)
}

// Devices describes the devices that the file needs, in the order of its interfaces: for
// [rxring.Namespace.AddDevice], and then for Start. A device has its interface's name if the
// name is valid and unique; the others are base0, base1 and so on. The MTU is 1500, or more if
// the file has longer packets; those longer than any MTU are segments (MaxLen).
func (f *File) Devices(base string) []rxring.DeviceConfig {
	devices := make([]rxring.DeviceConfig, len(f.devices))
	taken := make(map[string]bool)
	for i, k := range f.devices {
		devices[i] = rxring.DeviceConfig{Type: k.link.Device, MTU: k.mtu, MaxLen: k.maxLen}
		if delivery.IsName(k.name) && !taken[k.name] {
			devices[i].Name, taken[k.name] = k.name, true
		}
	}
	n := 0
	for i := range devices {
		for devices[i].Name == "" {
			if name := base + strconv.Itoa(n); !taken[name] {
				devices[i].Name, taken[name] = name, true
			}
			n++
		}
	}
	return devices
}

// check checks that the devices are those that the file needs.
func (f *File) check(devices []*rxring.Device) error {
	if len(devices) != len(f.devices) {
		return fmt.Errorf("%d devices: want %d, as Devices describes them", len(devices), len(f.devices))
	}
	for i, d := range devices {
		if d == nil {
			return fmt.Errorf("device %d is nil: want one of those that Devices describes", i)
		}
		if want := f.devices[i].link.Device; d.Type() != want {
			return fmt.Errorf("device %s has hardware type %d: want %d, that of the packets", d.Name(), d.Type(), want)
		}
	}
	return nil
}
