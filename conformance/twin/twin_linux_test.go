package twin_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

// twins is a namespace of the kernel's and one of rxring's, with the same device
// in both: each operation is applied to both, with equal results.
type twins struct {
	t      *testing.T
	kernel *kring.Namespace
	tap    *kring.Device // or a TUN device
	ns     *rxring.Namespace
	dev    *rxring.Device
}

var tap0 = rxring.DeviceConfig{Name: "tap0", HardwareAddr: rxtest.OwnAddr}

// withTwins runs fn, all of a top-level test, where the kernel can be asked.
func withTwins(t *testing.T, fn func(w *twins)) {
	kringtest.Run(t, func(k *kring.Namespace) {
		kringtest.NeedDevices(t)
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, tap0)
		tap, err := k.TAP("tap0", dev.Index(), rxtest.OwnAddr)
		rxtest.Must(t, err)
		defer tap.Close()
		fn(&twins{t, k, tap, ns, dev})
	})
}

// withTunTwins is withTwins for a device without a link-layer header.
func withTunTwins(t *testing.T, fn func(w *twins)) {
	kringtest.Run(t, func(k *kring.Namespace) {
		kringtest.NeedDevices(t)
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
		tun, err := k.TUN("tun0", dev.Index())
		rxtest.Must(t, err)
		defer tun.Close()
		fn(&twins{t, k, tun, ns, dev})
	})
}

// arrives makes the frame arrive on both sides.
func (w *twins) arrives(frame []byte) {
	w.t.Helper()
	rxtest.Must(w.t, w.tap.Receive(frame))
	w.dev.Deliver(&rxring.Packet{Data: frame})
}

// leaves makes the frame leave on both sides. protocol is its EtherType.
func (w *twins) leaves(protocol uint16, frame []byte) {
	w.t.Helper()
	rxtest.Must(w.t, w.tap.Send(protocol, frame))
	w.dev.Deliver(&rxring.Packet{Data: frame, Outgoing: true})
}

// twinRing is a V2 ring on both sides, bound to the device.
type twinRing struct {
	*twinSocket
	kernel *kring.Ring
	at     uint32 // the next frame
}

// packetInt is a SOL_PACKET option with an int.
type packetInt struct {
	option int
	value  int32
}

func (w *twins) ring(name string, typ rxring.SockType, protocol uint16, options ...packetInt) *twinRing {
	w.t.Helper()
	page := uint32(os.Getpagesize())
	req := tpacket.Req{BlockSize: page, BlockNr: 16, FrameSize: 512, FrameNr: 16 * page / 512}
	s := w.socket(name, typ, 0)
	for _, o := range append([]packetInt{{tpacket.OptVersion, int32(tpacket.V2)}}, options...) {
		rxtest.Must(w.t, s.kernel.SetInt(o.option, uint32(o.value)), s.ours.Setsockopt(tpacket.SolPacket, o.option, rxtest.Int(o.value)))
	}
	rxtest.Must(w.t, s.kernel.SetRxRing(tpacket.V2, tpacket.Req3{Req: req}), s.ours.SetRxRing(req))
	g := s.ours.Ring().Geometry()
	mem, err := s.kernel.Map(g.Size())
	rxtest.Must(w.t, err)
	r := &twinRing{twinSocket: s, kernel: &kring.Ring{Socket: s.kernel, Geometry: g, Mem: mem}}
	w.t.Cleanup(func() { rxtest.Must(w.t, r.closeBoth()) })
	rxtest.Must(w.t, s.kernel.Bind(w.dev.Index(), protocol), s.ours.BindDevice(w.dev, protocol))
	return r
}

// closeBoth closes both, the kernel's without its mapping. The kernel may
// reuse its descriptor from then on.
func (r *twinRing) closeBoth() error {
	if r.closed {
		return nil
	}
	r.closed = true
	return errors.Join(r.ours.Close(), r.kernel.Close())
}

// frame is the next frame of our ring.
func (r *twinRing) frame() []byte {
	return r.ours.Ring().(*writer.Ring).Frame(r.at % r.kernel.Geometry.FrameNr)
}

// compare wants the frames since the last call to be the same, times apart, hands
// them back, and returns how many they are.
func (r *twinRing) compare(t *testing.T, what string) int {
	t.Helper()
	for n := 0; ; n++ {
		got := bytes.Clone(r.frame())
		if tpacket.Header2At(got).Status == tpacket.StatusKernel {
			// Nothing can be waited for: packets of one test that the kernel
			// sees late show in the next comparison, or in the last.
			if r.kernel.Status(r.at%r.kernel.Geometry.FrameNr) != tpacket.StatusKernel {
				t.Errorf("%s, %s: a packet in the kernel's ring only:\n%s", what, r.name, hex.Dump(r.kernel.Frame(r.at % r.kernel.Geometry.FrameNr)[:128]))
				r.handBack()
			}
			return n
		}
		if err := r.kernel.Wait(r.at%r.kernel.Geometry.FrameNr, 5*time.Second); err != nil {
			t.Fatalf("%s, %s: a packet in our ring only:\n%s", what, r.name, hex.Dump(got[:128]))
		}
		want := bytes.Clone(r.kernel.Frame(r.at % r.kernel.Geometry.FrameNr))
		for _, b := range [][]byte{got, want} {
			h := tpacket.Header2At(b)
			h.Sec, h.Nsec = 0, 0
			h.Status &^= tpacket.StatusTSSoftware // set if any process on this machine requests timestamps
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s, %s: rxring:\n%skernel:\n%s", what, r.name, hex.Dump(got[:144]), hex.Dump(want[:144]))
		}
		r.handBack()
	}
}

// handBack gives the next frame back to both writers.
func (r *twinRing) handBack() {
	tpacket.Header2At(r.frame()).Status = tpacket.StatusKernel // no writer is active meanwhile
	r.kernel.Release(r.at % r.kernel.Geometry.FrameNr)
	r.at++
}
