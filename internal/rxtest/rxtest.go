// Package rxtest has what tests of packet sockets share: devices and sockets on which
// a test fails where an error is returned, frames, filters, and option values.
package rxtest

import (
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Must ends the test if one of errs is an error.
func Must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Errno returns the errno that err unwraps to, 0 for nil. It panics if err has none.
func Errno(err error) (errno syscall.Errno) {
	if err != nil && !errors.As(err, &errno) {
		panic(err)
	}
	return errno
}

// AddDevice adds a device to ns.
func AddDevice(t testing.TB, ns *rxring.Namespace, c rxring.DeviceConfig) *rxring.Device {
	t.Helper()
	d, err := ns.AddDevice(c)
	Must(t, err)
	return d
}

// SmallRing is 4 frames of 2048 bytes.
var SmallRing = tpacket.Req{BlockSize: 8192, BlockNr: 1, FrameSize: 2048, FrameNr: 4}

// BlocksRequest is a V3 ring of four blocks whose timer does not expire in a test: see Expire.
var BlocksRequest = tpacket.Req3{
	Req:          tpacket.Req{BlockSize: 1 << 14, BlockNr: 4, FrameSize: 1 << 14, FrameNr: 4},
	RetireBlkTov: 1 << 30,
}

// Open opens a socket with a receive ring for all protocols and devices, and its reader.
func Open(t testing.TB, ns *rxring.Namespace, typ rxring.SockType, v tpacket.Version, r tpacket.Req) (*rxring.Socket, *ring.Reader) {
	t.Helper()
	return open(t, ns, typ, v, tpacket.Req3{Req: r})
}

// OpenV3 is Open of a SOCK_RAW socket with a V3 ring.
func OpenV3(t testing.TB, ns *rxring.Namespace, r tpacket.Req3) (*rxring.Socket, *ring.Reader) {
	t.Helper()
	return open(t, ns, rxring.SockRaw, tpacket.V3, r)
}

func open(t testing.TB, ns *rxring.Namespace, typ rxring.SockType, v tpacket.Version, r tpacket.Req3) (*rxring.Socket, *ring.Reader) {
	t.Helper()
	s, err := ns.Socket(typ, tpacket.ETHPAll)
	Must(t, err)
	t.Cleanup(func() { s.Close() })
	Must(t, s.SetVersion(v), s.SetRxRing3(r))
	rd, err := s.NewReader()
	Must(t, err)
	return s, rd
}

// OpenSender opens a socket that is bound to dev and receives nothing.
func OpenSender(t testing.TB, ns *rxring.Namespace, dev *rxring.Device, typ rxring.SockType) *rxring.Socket {
	t.Helper()
	s, err := ns.Socket(typ, 0)
	Must(t, err)
	t.Cleanup(func() { s.Close() })
	Must(t, s.BindDevice(dev, 0))
	return s
}

// Expire retires the open block of the socket's V3 ring, as its timer would.
func Expire(s *rxring.Socket) { s.Ring().(*writer.Blocks).Expire() }

// Next returns the next packet of the ring.
func Next(t testing.TB, rd *ring.Reader) ring.Frame {
	t.Helper()
	f, ok := rd.Next()
	if !ok {
		t.Fatal("the ring holds no packet")
	}
	return f
}

// Drain hands back all packets of the ring.
func Drain(rd *ring.Reader) {
	for {
		f, ok := rd.Next()
		if !ok {
			return
		}
		f.Release()
	}
}

// PutFrame fills a frame of a transmit ring and asks for it to be sent.
func PutFrame(b []byte, v tpacket.Version, data []byte) {
	copy(b[v.TxOffset():], data)
	switch v {
	case tpacket.V1:
		h := tpacket.Header1At(b)
		h.Len = uint32(len(data))
		atomic.StoreUint64(&h.Status, tpacket.StatusSendRequest)
	case tpacket.V2:
		h := tpacket.Header2At(b)
		h.Len = uint32(len(data))
		atomic.StoreUint32(&h.Status, tpacket.StatusSendRequest)
	case tpacket.V3:
		h := tpacket.Header3At(b)
		h.Len = uint32(len(data))
		atomic.StoreUint32(&h.Status, tpacket.StatusSendRequest)
	}
}

// Only grants the devices with these names.
func Only(names ...string) func(*rxring.Device) bool {
	return func(d *rxring.Device) bool { return slices.Contains(names, d.Name()) }
}

// FlowHash returns the hash by which PACKET_FANOUT_HASH chooses a member for a frame that the device receives.
// A V3 ring that was asked for it shows it as tp_rxhash.
func FlowHash(t testing.TB, c rxring.DeviceConfig, frame []byte) uint32 {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := AddDevice(t, ns, c)
	r := BlocksRequest
	r.FeatureReqWord = tpacket.FeatureFillRxhash
	s, rd := OpenV3(t, ns, r)
	defer s.Close()
	dev.Deliver(&rxring.Packet{Data: frame})
	Expire(s)
	f := Next(t, rd)
	defer f.Release()
	return f.Hash
}

// SetInt sets an option of SOL_PACKET that is an int.
func SetInt(s *rxring.Socket, name, v int) error {
	return s.Setsockopt(tpacket.SolPacket, name, Int(int32(v)))
}

// RolloverStats reads PACKET_ROLLOVER_STATS.
func RolloverStats(s *rxring.Socket) (tpacket.RolloverStats, error) {
	b := make([]byte, len(tpacket.Bytes(&tpacket.RolloverStats{})))
	if _, err := s.Getsockopt(tpacket.SolPacket, tpacket.OptRolloverStats, b); err != nil {
		return tpacket.RolloverStats{}, err
	}
	return tpacket.Parse[tpacket.RolloverStats](b), nil
}
