package linktype

import (
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

func TestLinkTypesThatNoDeviceHas(t *testing.T) {
	for typ, want := range map[capfile.LinkType]string{
		220: "link type USB (220), which no network device of Linux has: want one of 0, 1, 2, 4, ",
		148: "link type unknown (148), which",
		999: "link type unknown (999), which",
	} {
		if l, err := Of(typ); l != nil || err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), ", 271, 276") {
			t.Errorf("%v: %v, error %v, want %s", typ, l, err, want)
		}
	}
}

// A device's capture has the link type of the files that the device is for.
func TestLinkTypesOfDevices(t *testing.T) {
	for _, l := range links {
		link, cooked := OfDevice(l.Device)
		switch {
		case l.decode == nil && !cooked:
			if of, err := Of(link); err != nil || of.Device != l.Device {
				t.Errorf("%v is shown by a device of type %d, whose link type is %v", l.Type, l.Device, link)
			}
		case l.Type == CAN && link == CAN && !cooked:
		case l.framed:
		case !cooked || link != capfile.LinkLinuxSLL2:
			t.Errorf("%v: a device of type %d has link type %v, cooked: %v", l.Type, l.Device, link, cooked)
		}
	}
}

// What a cooked capture says of a packet is what its header is made of again.
func TestCookedHeadersAreReadAndWrittenAlike(t *testing.T) {
	header := []byte{0x86, 0xdd, 0, 0, 0, 0, 0, 9, 0x03, 0x04, 4, 6, 1, 2, 3, 4, 5, 6, 0, 0}
	l, err := Of(capfile.LinkLinuxSLL2)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := l.Decode(slices.Concat(header, []byte("payload")))
	if !ok || !p.HasLink || !p.Outgoing || string(p.Data) != "payload" {
		t.Fatalf("%+v", p)
	}
	got := AppendSLL2(nil, &tpacket.SockaddrLL{
		Protocol: tpacket.Htons(p.Link.Protocol), Ifindex: p.Link.Ifindex, Hatype: p.Link.Hatype,
		Pkttype: p.Link.Type, Halen: p.Link.AddrLen, Addr: p.Link.Addr,
	})
	if !slices.Equal(got, header) {
		t.Errorf("% x, was % x", got, header)
	}
}

// Whatever the bytes: what is shown of them lies within them, and a device takes it.
func FuzzDecode(f *testing.F) {
	for i := range links {
		f.Add(uint8(i), make([]byte, 64))
		f.Add(uint8(i), []byte{0xff, 3, 0, 0x21, 0x45})
	}
	f.Fuzz(func(t *testing.T, n uint8, b []byte) {
		l := &links[int(n)%len(links)]
		p, ok := l.Decode(b)
		if !ok {
			if p.Data != nil {
				t.Fatalf("%v: % x of a packet that is cut off", l.Type, p.Data)
			}
			return
		}
		if len(p.Data) > 0 {
			at := uintptr(unsafe.Pointer(&p.Data[0])) - uintptr(unsafe.Pointer(&b[0]))
			if at+uintptr(len(p.Data)) > uintptr(len(b)) {
				t.Fatalf("%v: %d bytes at %d of %d", l.Type, len(p.Data), at, len(b))
			}
		}
		if p.Link.AddrLen > sllAddrLen {
			t.Fatalf("%v: an address of %d bytes", l.Type, p.Link.AddrLen)
		}
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", Type: l.Device})
		if err != nil {
			t.Fatal(err)
		}
		s, err := ns.Socket(rxring.SockDgram, tpacket.ETHPAll)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		q := rxring.Packet{Data: p.Data, Outgoing: p.Outgoing}
		if p.HasLink {
			q.Link = &p.Link
		}
		dev.Deliver(&q)
	})
}
