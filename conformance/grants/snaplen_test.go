package grants_test

import (
	"math"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestPacketThatIsCutLooksAsIfItsSocketSawNoMore: to every kind of socket, the
// beginning of a packet with its length is what the whole one is behind a grant
// that shows so much of it.
func TestPacketThatIsCutLooksAsIfItsSocketSawNoMore(t *testing.T) {
	need.Time(t, "it runs many scripts")
	const snaplen = 34
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			for name, f := range snaplenFrames {
				for _, outgoing := range []bool{false, true} {
					for spy, own := range spies {
						if own != nil && k.members > 0 {
							continue
						}
						whole := rxring.Packet{Data: f.frame, VLAN: f.vlan, Outgoing: outgoing, Timestamp: 1}
						deliver := func(p rxring.Packet) func(*rxring.Namespace, *rxring.Device) {
							return func(_ *rxring.Namespace, d *rxring.Device) {
								d.Deliver(&p)
								in := p
								in.Data, in.Rest = p.Data[:20], [][]byte{p.Data[20:]}
								d.DeliverBatch([]rxring.Packet{p, in})
							}
						}
						want := look(t, k, &rxring.Grant{Snaplen: snaplen}, own, deliver(whole))
						cut := whole
						cut.Len = len(f.frame)
						cut.Data = f.frame[:snaplen]
						if !outgoing {
							cut.Data = f.frame[:snaplen+f.taken]
						}
						if got := look(t, k, nil, own, deliver(cut)); got != want {
							t.Fatalf("%s, outgoing %v, %s:\n%.3000s\nwant\n%.3000s", name, outgoing, spy, got, want)
						}
					}
				}
			}
		})
	}
}

func TestLenThatSaysNothing(t *testing.T) {
	for _, c := range []struct{ len, want int }{
		{0, 214}, {-1, 214}, {math.MinInt, 214}, {100, 214}, {214, 214}, {215, 215}, {math.MaxInt32, math.MaxInt32}, {math.MaxInt, math.MaxInt32},
	} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
		s, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
		rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll))
		dev.Deliver(&rxring.Packet{Data: rxtest.TCPFrame(200), Len: c.len})
		if f := rxtest.Next(t, rd); f.Len != c.want || len(f.Data) != 214 {
			t.Errorf("Len %d: %d of %d bytes, want 214 of %d", c.len, len(f.Data), f.Len, c.want)
		}
		rxtest.Must(t, s.Close())
	}
}

// Under FanoutFlagDefrag a fragment that is not all there makes nothing whole.
func TestCutFragmentsAreNotPutTogether(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll), s.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB, Flags: rxring.FanoutFlagDefrag}))
	first, last := rxtest.TCPFrame(100), rxtest.TCPFrame(100)
	first[20], last[21] = 0x20, 10 // more to come; from byte 80 on
	buf := make([]byte, 500)
	count := func(firstLen int) (lengths []int) {
		dev.Deliver(&rxring.Packet{Data: first[:firstLen], Len: len(first)})
		dev.Deliver(&rxring.Packet{Data: last})
		for {
			m, err := s.Recv(buf, rxring.MsgTrunc|rxring.MsgDontWait)
			if rxtest.Errno(err) == syscall.EAGAIN {
				return lengths
			}
			rxtest.Must(t, err)
			lengths = append(lengths, m.Copied)
		}
	}
	if got := count(60); len(got) != 1 || got[0] != 60 {
		t.Errorf("cut: %d, want the one that is cut, as it is", got)
	}
	if got := count(len(first)); len(got) != 1 || got[0] != 14+180 {
		t.Errorf("not cut: %d, want the whole packet", got)
	}
}
