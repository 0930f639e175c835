package rxring_test

import (
	"errors"
	"sync"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

func TestPollersHearThatADeviceWentDown(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err, s.BindDevice(dev, tpacket.ETHPAll))
	defer s.Close()
	var w countingWaker
	s.Arm(&w)
	dev.SetUp(false)
	dev.SetUp(false)
	if w.Load() != 1 || s.Events() != rxring.EventErr || dev.Up() || dev.HasListeners() {
		t.Errorf("woken %d times, events %#x, up %v, watched %v", w.Load(), s.Events(), dev.Up(), dev.HasListeners())
	}
	if _, err := s.Recv(nil, 0); !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("%v, want %v", err, syscall.ENETDOWN)
	}
	if _, err := s.Recv(nil, 0); !errors.Is(err, syscall.EAGAIN) || s.Events() != 0 {
		t.Errorf("%v, events %#x: want %v, once the error is taken", err, s.Events(), syscall.EAGAIN)
	}
	dev.SetUp(true)
	if !dev.HasListeners() {
		t.Error("not watched though it is up again")
	}
}

func TestRemovedDeviceIsGone(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, ns.RemoveDevice(dev))
	if err := ns.RemoveDevice(dev); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("removed twice: %v, want %v", err, syscall.ENODEV)
	}
	dev.SetUp(true)
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if s.Readable() || dev.Up() || len(ns.Devices()) != 0 {
		t.Error("the device is still there")
	}
	again := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	if again.Index() == dev.Index() {
		t.Error("an index was given twice")
	}
	again.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if !s.Readable() {
		t.Error("a socket bound to all devices does not see the new one")
	}
	other := rxring.NewNamespace(rxring.NamespaceConfig{})
	if err := other.RemoveDevice(again); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("removed from another namespace: %v, want %v", err, syscall.ENODEV)
	}
}

// TestDevicesComeAndGoUnderManyHands is for the race detector: and in the end
// everything is counted, and nothing is left behind.
func TestDevicesComeAndGoUnderManyHands(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	const rounds = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds * 10 {
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(100)})
		}
	})
	wg.Go(func() {
		for i := range rounds {
			dev.SetUp(i%2 == 1)
		}
	})
	for range 2 {
		wg.Go(func() {
			for i := range rounds {
				s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
				rxtest.Must(t, err, s.BindDevice(dev, tpacket.ETHPIP))
				rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), 1, 0)))
				if i%3 == 0 {
					rxtest.Must(t, s.JoinFanout(rxring.FanoutConfig{ID: 7}))
				}
				s.Events()
				s.Addr()
				s.Recv(make([]byte, 10), 0)
				rxtest.Must(t, s.Close())
			}
		})
	}
	wg.Wait()
	if dev.Promiscuous() || dev.HasListeners() {
		t.Errorf("promiscuous %v, watched %v with no socket left", dev.Promiscuous(), dev.HasListeners())
	}
	rxtest.Must(t, ns.RemoveDevice(dev))
}
