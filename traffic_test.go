package rxring_test

import (
	"sync"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// A device counts what passes it while a socket is attached, whichever way it came, and
// nothing before.
func TestDevicesCountWhatPasses(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	wants := func(what string, wantIn, wantOut rxring.Traffic) {
		t.Helper()
		if in, out := dev.Traffic(); in != wantIn || out != wantOut {
			t.Errorf("%s: in %+v, out %+v: want %+v, %+v", what, in, out, wantIn, wantOut)
		}
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
	wants("without a socket", rxring.Traffic{}, rxring.Traffic{})

	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err, s.BindDevice(dev, 0))
	tagged := rxtest.Frame(70)
	copy(tagged[12:], []byte{0x81, 0, 0, 5, 8, 0})
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
	dev.Deliver(&rxring.Packet{Data: tagged})
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64), Len: 1000})
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64), Outgoing: true})
	wants("one by one", rxring.Traffic{Packets: 3, Bytes: 64 + 70 + 1000}, rxring.Traffic{Packets: 1, Bytes: 64})

	dev.DeliverBatch([]rxring.Packet{{Data: rxtest.Frame(60)}, {Data: rxtest.Frame(60), Outgoing: true}, {Data: tagged}, {Data: rxtest.Frame(5)}, {Data: rxtest.Frame(61)}})
	wants("in a batch", rxring.Traffic{Packets: 6, Bytes: 64 + 70 + 1000 + 60 + 70 + 61}, rxring.Traffic{Packets: 2, Bytes: 64 + 60})

	_, err = s.Send(rxtest.Frame(100))
	rxtest.Must(t, err)
	wants("sent", rxring.Traffic{Packets: 6, Bytes: 64 + 70 + 1000 + 60 + 70 + 61}, rxring.Traffic{Packets: 3, Bytes: 64 + 60 + 100})
	rxtest.Must(t, s.Close())
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
	wants("without a socket again", rxring.Traffic{Packets: 6, Bytes: 64 + 70 + 1000 + 60 + 70 + 61}, rxring.Traffic{Packets: 3, Bytes: 64 + 60 + 100})
}

// However many packets of whatever length several writers deliver: none is lost while
// counts are carried and read.
func TestDeviceCountsAreExact(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPARP) // which wants none of them
	rxtest.Must(t, err, s.BindDevice(dev, 0))
	defer s.Close()
	const writers, batches, n = 4, 10000, 32
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			ps := make([]rxring.Packet, n)
			for i := range ps {
				ps[i] = rxring.Packet{Data: rxtest.Frame(64), Len: 1 << 23}
			}
			for i := range batches {
				dev.DeliverBatch(ps)
				if i%1000 == 0 {
					dev.Traffic()
				}
			}
		})
	}
	wg.Wait()
	const packets = writers * batches * n
	if in, _ := dev.Traffic(); in != (rxring.Traffic{Packets: packets, Bytes: packets << 23}) {
		t.Errorf("%+v: want %d packets", in, packets)
	}
}
