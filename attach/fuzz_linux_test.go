package attach_test

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/tpacket"
)

// messages takes b apart into datagrams: each behind its length in two bytes.
func messages(b []byte) (all [][]byte) {
	for len(b) >= 2 && len(all) < 64 {
		n := int(binary.LittleEndian.Uint16(b))
		b = b[2:]
		n = min(n, len(b))
		all = append(all, b[:n])
		b = b[n:]
	}
	return all
}

func joined(ms ...[]byte) (b []byte) {
	for _, m := range ms {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(m)))
		b = append(b, m...)
	}
	return b
}

// FuzzPeer is a peer that says anything, behind its hello: the server answers or
// hangs up, another reader sees every packet, and nothing is left.
func FuzzPeer(f *testing.F) {
	req := string(tpacket.Bytes(&slots))
	size := int(slots.BlockSize * slots.BlockNr)
	f.Add(joined(request(devices, 0, 1, 0, 1), request(status, 0, 2, 0), request(newSocket, 0, 3, 3, tpacket.ETHPAll), request(closeSocket, 1, 4)))
	f.Add(joined(request(newSocket, 0, 1, 2, 3), request(setsockopt, 1, 2, tpacket.SolPacket, tpacket.OptVersion, 1),
		request(setsockopt, 1, 3, tpacket.SolPacket, tpacket.OptRxRing, req), request(mapRing, 1, 4, size, 0), request(14, 1, 5), request(15, 1, 6, 1)))
	f.Add(joined(request(newSocket, 0, 1, 3, 3), request(bindSocket, 1, 2, string(make([]byte, 20))), request(7, 1, 3), request(getsockopt, 1, 4, 263, 6, 12),
		request(10, 1, 5, string([]byte{6, 0, 0, 0, 0xff, 0xff, 0, 0})), request(11, 1, 6, 1), request(receive, 1, 7, 0, 100), request(send, 1, 8, 0, "frame"), request(18, 1, 9, 0), request(19, 1, 10)))
	f.Cleanup(attach.SetConnectRate(1e6))
	o := listen(f, attach.Config{})
	s := socket(f, o.dial(f), rxring.SockRaw)
	rd, _ := setRing(f, s, slots)
	bind(f, s, 7)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: o.Addr(), Net: "unixpacket"})
		must(t, err)
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write(request(hello, 0, 1, word, theVersion))
		room := make([]byte, 1<<18)
		if _, err := c.Read(room); err != nil {
			t.Fatalf("hello: %v", err)
		}
		for i, m := range messages(b) {
			if len(m) == 0 {
				continue
			}
			if _, err := c.Write(m); err != nil {
				break // hung up on
			}
			if n, err := c.Read(room); n == 0 {
				if err, ok := err.(net.Error); ok && err.Timeout() {
					t.Fatalf("message %d: neither answered nor hung up on", i)
				}
				break
			}
			o.dev.Deliver(&rxring.Packet{Data: frame(i, 100)})
			if p, ok := rd.Next(); !ok || string(p.Data) != string(frame(i, 100)) {
				t.Fatalf("another reader: packet %d is %v", i, ok)
			} else {
				p.Release()
			}
		}
		c.Close()
		eventually(t, "nothing is left", func() bool { return len(o.Status().Sockets) == 1 })
	})
}

// FuzzAnswers is a server that answers anything, behind its hello: a client says
// that the connection has ended, or believes what makes sense.
func FuzzAnswers(f *testing.F) {
	list := `{"all":true,"devices":[{"index":7,"name":"wg0","type":1,"mtu":1420,"addr":[2,0,0,0,0,1],"up":true}]}`
	start := [][]byte{request(devices, 0, 2, len(list), list), request(newSocket, 0, 3, 1)}
	f.Add(joined(start...))
	f.Add(joined(append(start, request(status, 0, 4, 2, "{}"), request(getsockopt, 0, 5, 7), request(receive, 0, 6, 80, string(make([]byte, 80)), "packet"),
		request(11, 0, 7, 1, "12345678"), request(mapRing, 0, 8))...))
	f.Add(joined(start[0], request(newSocket, 93, 3, "no")))
	f.Add(joined(request(devices, 0, 2, 2, "{}")))
	f.Add(joined(request(devices, 0, 2, 31, `{"removed":[7],"devices":[null]}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		left := messages(b)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		greeted := false
		path := fake(t, func(c *net.UnixConn, _ []byte) {
			switch {
			case !greeted:
				c.WriteMsgUnix(request(hello, 0, 1, theVersion), unix.UnixRights(pair[1]), nil)
				greeted = true
			case len(left) == 0:
				c.Close()
			default:
				c.WriteMsgUnix(left[0], unix.UnixRights(pair[1]), nil) // an unexpected descriptor
				left = left[1:]
			}
		})
		c, err := attach.Dial(t.Context(), path)
		if err != nil {
			return
		}
		defer c.Close()
		for _, d := range c.Namespace().Devices() {
			if d.Name() == "" {
				t.Error("a device without a name")
			}
		}
		s, err := c.Socket(rxring.SockRaw, 0)
		if err != nil {
			return
		}
		c.Status()
		buf := make([]byte, 100)
		if n, err := s.Getsockopt(tpacket.SolPacket, tpacket.OptStatistics, buf[:12]); n < 0 || n > 12 {
			t.Errorf("an option of %d bytes, %v", n, err)
		}
		if m, err := s.Recv(buf, 0); err == nil && (m.Copied < 0 || m.Copied > len(buf)) {
			t.Errorf("a packet of %d bytes in %d", m.Copied, len(buf))
		}
		s.GetFilter(10)
		if fd, err := s.Map(4096); err == nil {
			t.Errorf("descriptor %d is no sealed memory", fd)
		}
		s.Events()
		s.Close()
	})
}
