package kring_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/tpacket"
)

var (
	hostAddr = [6]byte{2, 0, 0, 0, 0, 1}
	arrives  = append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5}, "a packet in"...)
	leaves   = append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, "a packet out"...)
)

func TestPacketsPassBothWays(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		kringtest.NeedDevices(t)
		tap, err := ns.TAP("tap0", 10, hostAddr)
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2} {
			ring, err := ns.OpenRing(kring.RingConfig{
				Type: unix.SOCK_RAW, Version: v,
				Request: tpacket.Req3{Req: tpacket.Req{BlockSize: uint32(os.Getpagesize()), BlockNr: 1, FrameSize: 256, FrameNr: uint32(os.Getpagesize()) / 256}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			if err := ring.Bind(tap.Index, tpacket.ETHPAll); err != nil {
				t.Fatal(err)
			}
			if err := tap.Receive(arrives); err != nil {
				t.Fatal(err)
			}
			if err := tap.Send(0x88b5, leaves); err != nil {
				t.Fatal(err)
			}
			mac := tpacket.RawOffsets(v, 14, 0, 0).Mac
			for i, want := range [][]byte{arrives, leaves} {
				if err := ring.Wait(uint32(i), 5*time.Second); err != nil {
					t.Fatalf("%s, packet %d: %v", v, i, err)
				}
				if got := ring.Frame(uint32(i))[mac:][:len(want)]; !bytes.Equal(got, want) {
					t.Errorf("%s, packet %d: %q, want %q", v, i, got, want)
				}
				ring.Release(uint32(i))
			}
			stats, err := ring.Option(tpacket.OptStatistics, make([]byte, tpacket.SizeofStats))
			if got := tpacket.Parse[tpacket.Stats](stats); err != nil || got != (tpacket.Stats{Packets: 2}) {
				t.Errorf("%s: statistics %+v, %v: another process sends here", v, got, err)
			}
			buf := make([]byte, 256)
			if n, err := tap.Read(buf); err != nil || !bytes.Equal(buf[:n], leaves) {
				t.Errorf("%s: on the wire: %q, %v; want %q", v, buf[:n], err, leaves)
			}
		}
	})
}

func TestASocketWithoutARingReceives(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		kringtest.NeedDevices(t)
		tun, err := ns.TUN("tun0", 20)
		if err != nil {
			t.Fatal(err)
		}
		defer tun.Close()
		s, err := ns.Socket(unix.SOCK_RAW, tpacket.ETHPAll)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Recv(make([]byte, 1), 0); err != unix.EAGAIN {
			t.Fatalf("an empty socket says %v, want EAGAIN", err)
		}
		packet := make([]byte, 20)
		packet[0] = 0x45
		if err := tun.Receive(packet); err != nil {
			t.Fatal(err)
		}
		if ready, err := s.Poll(5 * time.Second); !ready || err != nil {
			t.Fatalf("poll: %v, %v", ready, err)
		}
		if n, err := s.Recv(make([]byte, 4), unix.MSG_TRUNC); n != len(packet) || err != nil {
			t.Errorf("recv: %d bytes, %v; want %d", n, err, len(packet))
		}
	})
}

func TestNamespacesDoNotMeet(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		kringtest.NeedDevices(t)
		other, err := kring.New()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		for _, each := range []*kring.Namespace{ns, other} { // same name and index: neither sees the other's
			d, err := each.TAP("tap0", 10, hostAddr)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
		}
		if _, err := ns.TAP("tap0", 11, hostAddr); err == nil {
			t.Error("a second tap0 in one namespace")
		}
	})
}
