package iface

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// party is a packet socket of one of two worlds: of the kernel on near0, or of rxring
// on the device that stands for it.
type party interface {
	set(name int, val uint32) error // SOL_PACKET
	bind(index int, protocol uint16) error
	send(b []byte, to *tpacket.SockaddrLL) error
	receive(b []byte) (n int, pkttype uint8, err error) // EAGAIN: nothing is there
	close()
}

type kernelParty struct {
	t  testing.TB
	fd int
}

func (p kernelParty) set(name int, val uint32) error {
	return unix.SetsockoptInt(p.fd, unix.SOL_PACKET, name, int(int32(val)))
}

func (p kernelParty) bind(index int, protocol uint16) error {
	return unix.Bind(p.fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: tpacket.Htons(protocol)})
}

func (p kernelParty) send(b []byte, to *tpacket.SockaddrLL) error {
	if to == nil {
		_, err := unix.SendmsgN(p.fd, b, nil, nil, unix.MSG_DONTWAIT)
		return err
	}
	return unix.Sendto(p.fd, b, unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Protocol: to.Protocol, Ifindex: int(to.Ifindex), Halen: to.Halen, Addr: to.Addr})
}

func (p kernelParty) receive(b []byte) (int, uint8, error) {
	n, from, err := unix.Recvfrom(p.fd, b, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, 0, err
	}
	return n, from.(*unix.SockaddrLinklayer).Pkttype, nil
}

func (p kernelParty) close() { unix.Close(p.fd) }

type ourParty struct{ *rxring.Socket }

func (p ourParty) set(name int, val uint32) error {
	return p.Setsockopt(tpacket.SolPacket, name, binary.NativeEndian.AppendUint32(nil, val))
}

func (p ourParty) bind(index int, protocol uint16) error {
	return p.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(index), Protocol: tpacket.Htons(protocol)})
}

func (p ourParty) send(b []byte, to *tpacket.SockaddrLL) error {
	_, err := p.SendTo(b, to)
	return err
}

func (p ourParty) receive(b []byte) (int, uint8, error) {
	m, err := p.Recv(b, rxring.MsgDontWait)
	return m.Copied, uint8(m.From.Pkttype), err
}

func (p ourParty) close() { p.Close() }

// world makes parties.
type world struct {
	name   string
	socket func(typ int, protocol uint16) party
}

func (w *wire) worlds() []world {
	return []world{
		{"kernel", func(typ int, protocol uint16) (p party) {
			must(w.t, w.near.Do(func() error {
				fd, err := unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC, int(tpacket.Htons(protocol)))
				p = kernelParty{w.t, fd}
				return err
			}))
			return p
		}},
		{"iface", func(typ int, protocol uint16) party {
			t := rxring.SockRaw
			if typ == unix.SOCK_DGRAM {
				t = rxring.SockDgram
			}
			s, err := w.dev.Namespace().Socket(t, protocol)
			must(w.t, err)
			return ourParty{s}
		}},
	}
}

// group is a PACKET_FANOUT option: load balancing, and to let members be unequal.
func group(id uint16) uint32 { return tpacket.FanoutArgs(id, tpacket.FanoutLB, 0) }

// cast are the sockets of TestReceiversOfSentFrames, the sender first.
func cast(t testing.TB, w world, index int) (names []string, all []party) {
	add := func(name string, typ int, setUp func(p party) error) {
		p := w.socket(typ, 0)
		if err := setUp(p); err != nil {
			t.Fatalf("%s: %s: %v", w.name, name, err)
		}
		names, all = append(names, name), append(all, p)
	}
	bound := func(opts ...uint32) func(party) error {
		return func(p party) error {
			for i := 0; i < len(opts); i += 2 {
				if opts[i] != tpacket.OptFanout {
					if err := p.set(int(opts[i]), opts[i+1]); err != nil {
						return err
					}
				}
			}
			if err := p.bind(index, tpacket.ETHPAll); err != nil {
				return err
			}
			for i := 0; i < len(opts); i += 2 {
				if opts[i] == tpacket.OptFanout {
					return p.set(int(opts[i]), opts[i+1])
				}
			}
			return nil
		}
	}
	add("sender", unix.SOCK_RAW, bound(tpacket.OptFanout, group(1)))
	add("of its fanout group", unix.SOCK_RAW, bound(tpacket.OptFanout, group(1)))
	add("of another group", unix.SOCK_RAW, bound(tpacket.OptFanout, group(2)))
	add("reader", unix.SOCK_RAW, bound())
	add("cooked reader", unix.SOCK_DGRAM, bound())
	add("of all devices", unix.SOCK_RAW, func(p party) error { return p.bind(0, tpacket.ETHPAll) })
	add("ignores outgoing", unix.SOCK_RAW, bound(tpacket.OptIgnoreOutgoing, 1))
	add("of one protocol", unix.SOCK_RAW, func(p party) error { return p.bind(index, 0x88b5) })
	return names, all
}

// account is what p receives, up to the last frame.
func (w *wire) account(p party, last []byte) (seen []string) {
	b := make([]byte, 1<<17)
	end := ""
	eventually(w.t, "the last frame is there", func() bool {
		for {
			n, pkttype, err := p.receive(b)
			if err != nil {
				return false
			}
			what := fmt.Sprintf("type %d, %d bytes: % x", pkttype, n, b[:min(n, 40)])
			if bytes.HasSuffix(b[:n], last[14:]) {
				end = what
				return true
			}
			seen = append(seen, what)
		}
	})
	return append(seen, end)
}

// A frame that a packet socket sends leaves by the interface, and is seen by the same
// sockets as natively, once.
func TestReceiversOfSentFrames(t *testing.T) {
	need.Time(t, "it sends on several devices")
	for _, c := range []Config{{}, {Immediate: true}, {Fanout: 3, FanoutMode: rxring.FanoutLB}} {
		t.Run(fmt.Sprintf("immediate=%v,fanout=%d", c.Immediate, c.Fanout), func(t *testing.T) {
			withWire(t, func(w *wire) {
				w.t = t
				far := w.farEnd()
				defer far.Close()
				type result struct {
					seen map[string][]string
					far  []seen
				}
				var results []result
				for _, world := range w.worlds() {
					stop := func() error { return nil }
					if world.name == "iface" {
						s := w.start(c)
						stop = s.Close
					}
					names, all := cast(t, world, w.dev.Index())
					r := result{seen: make(map[string][]string)}
					const n = 10
					for i := range n {
						b := frame(i)
						copy(b, farAddr[:])
						copy(b[6:], nearAddr[:])
						if i == 7 {
							b = tagged(b, tpacket.ETHP8021Q, 5)
						}
						if i == 8 {
							must(t, all[0].set(tpacket.OptQdiscBypass, 1))
						}
						if err := all[0].send(b, nil); err != nil {
							t.Fatalf("%s: frame %d: %v", world.name, i, err)
						}
						must(t, all[0].set(tpacket.OptQdiscBypass, 0))
					}
					r.far = read(t, far, n)
					last := frame(99)
					for range 2 { // one for each socket of a group
						w.comes(last)
					}
					for i, p := range all {
						r.seen[names[i]] = w.account(p, last)
						p.close()
					}
					must(t, stop())
					results = append(results, r)
				}
				for name, want := range results[0].seen {
					if got := results[1].seen[name]; !slices.Equal(got, want) {
						t.Errorf("%s sees\n%s\nthrough iface, natively\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
				}
				same(t, results[1].far, results[0].far)
				if n := len(results[0].seen["reader"]); n != 9+1 {
					t.Errorf("the kernel's reader sees %d frames, want all but the one that passes no qdisc, and the last", n)
				}
			})
		})
	}
}

// farEnd reads what comes out at the far end.
func (w *wire) farEnd() (h *capture.Handle) {
	must(w.t, w.far.Do(func() (err error) {
		c := whole
		c.IgnoreOutgoing = true
		h, err = capture.Open("far0", c)
		return err
	}))
	return h
}

// tcp is a frame with n bytes of TCP payload to the far end, its checksum left to be
// computed: the sum of the addresses, protocol and length is in its place.
func tcp(n int) []byte {
	b := make([]byte, 54+n)
	copy(b, farAddr[:])
	copy(b[6:], nearAddr[:])
	binary.BigEndian.PutUint16(b[12:], tpacket.ETHPIP)
	ip, segment := b[14:34], b[34:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(ip[2:], uint16(min(len(b)-14, 0xffff)))
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	sum := func(b []byte, n uint32) uint16 {
		for pair := range slices.Chunk(b, 2) {
			n += uint32(pair[0])<<8 | uint32(pair[1])
		}
		for n > 0xffff {
			n = n>>16 + n&0xffff
		}
		return uint16(n)
	}
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip, 0))
	binary.BigEndian.PutUint16(segment, 9)
	binary.BigEndian.PutUint16(segment[2:], 9)
	segment[12], segment[13] = 5<<4, 0x10
	binary.BigEndian.PutUint16(segment[16:], sum(ip[12:], unix.IPPROTO_TCP+uint32(len(segment))))
	return b
}

// vnet is a virtio_net_hdr in little endian, as programs on this machine have it.
func vnet(flags, gso byte, words ...uint16) (h []byte) {
	h = []byte{flags, gso}
	for _, w := range words {
		h = binary.NativeEndian.AppendUint16(h, w)
	}
	return append(h, make([]byte, sizeofVnet-len(h))...)
}

// What a program leaves to the device, checksums and the cutting of large segments,
// reaches the far end as it does natively; what it asks for wrongly is refused alike.
func TestSentOffloads(t *testing.T) {
	need.Time(t, "it sends on several devices")
	withWire(t, func(w *wire) {
		far := w.farEnd()
		defer far.Close()
		s := w.start(Config{Retire: quick.Retire})
		defer s.Close()
		cases := []struct {
			name  string
			bytes []byte
		}{
			{"plain", slices.Concat(vnet(0, 0), tcp(10))},
			{"checksum", slices.Concat(vnet(vnetNeedsCsum, 0, 54, 0, 34, 16), tcp(10))},
			{"segment", slices.Concat(vnet(vnetNeedsCsum, byte(rxring.GSOTCPv4), 54, 1000, 34, 16), tcp(5000))},
			{"segment of 64 KiB", slices.Concat(vnet(vnetNeedsCsum, byte(rxring.GSOTCPv4), 54, 1448, 34, 16), tcp(65400))},
			{"segment of 300000 bytes", slices.Concat(vnet(vnetNeedsCsum, byte(rxring.GSOTCPv4), 54, 1448, 34, 16), tcp(300000))},
			{"segment with ECN", slices.Concat(vnet(vnetNeedsCsum, byte(rxring.GSOTCPv4|rxring.GSOECN), 54, 1000, 34, 16), tcp(5000))},
			{"unknown segment", slices.Concat(vnet(vnetNeedsCsum, 9, 54, 1000, 34, 16), tcp(5000))},
			{"checksum outside", slices.Concat(vnet(vnetNeedsCsum, 0, 54, 0, 3400, 16), tcp(10))},
			{"too long", slices.Concat(vnet(0, 0), tcp(5000))},
		}
		var results [2][]seen
		var errs [2][]error
		for i, world := range w.worlds() {
			p := world.socket(unix.SOCK_RAW, 0)
			must(t, p.set(tpacket.OptVnetHdr, 1))
			must(t, p.bind(w.dev.Index(), 0))
			for _, c := range cases {
				var err error
				eventually(t, "room behind the segment before", func() bool {
					err = p.send(c.bytes, nil)
					return !errors.Is(err, unix.EAGAIN)
				})
				errs[i] = append(errs[i], err)
			}
			p.close()
			results[i] = slices.DeleteFunc(read(t, far, 0), func(p seen) bool { return p.from.Protocol == tpacket.Htons(tpacket.ETHPARP) })
		}
		for i, c := range cases {
			if want := errs[0][i]; !errors.Is(errs[1][i], want) {
				t.Errorf("%s: %v, natively %v", c.name, errs[1][i], want)
			}
		}
		same(t, results[1], results[0])
		if len(results[0]) <= 6 {
			t.Errorf("natively %d frames arrived, want 5, and those of the segment that Linux divides: nothing to compare", len(results[0]))
		}
		if st := s.Stats(); st.Sent != uint64(len(results[0])) || st.SendErrors != 0 {
			t.Errorf("%d sent, %d errors, want %d sent: the rest the socket refuses", st.Sent, st.SendErrors, len(results[0]))
		}
	})
}

// While nobody reads a frame leaves by a socket that is opened for it, and receives
// nothing.
func TestSendingWithoutReaders(t *testing.T) {
	withWire(t, func(w *wire) {
		far := w.farEnd()
		defer far.Close()
		others := w.packetSockets()
		s := w.start(Config{})
		sender := w.worlds()[1].socket(unix.SOCK_RAW, 0)
		defer sender.close()
		must(t, sender.bind(w.dev.Index(), 0))
		if n := w.packetSockets() - others; n != 0 {
			t.Errorf("%d sockets before anything is sent", n)
		}
		for i := range 3 {
			must(t, sender.send(frame(i), nil))
		}
		for i, p := range read(t, far, 3) {
			if p.data != string(frame(i)) {
				t.Errorf("frame %d: %v", i, p)
			}
		}
		if n := w.packetSockets() - others; n != 1 || s.Stats().Open {
			t.Errorf("%d sockets, want the one that sends", n)
		}
		if st := s.Stats(); st.Sent != 3 || st.SendErrors != 0 || st.Packets != 0 {
			t.Errorf("%+v", st)
		}
		must(t, s.Close())
		if n := w.packetSockets() - others; n != 0 {
			t.Errorf("%d sockets after Close", n)
		}
	})
}

// slow gives near0 a queue of limit bytes that lets pass two kilobytes at once and then
// next to nothing.
func (w *wire) slow(limit int) {
	w.tc("replace", "dev", "near0", "root", "tbf", "rate", "800bit", "burst", "2000", "limit", strconv.Itoa(limit))
}

func (w *wire) fast() { w.tc("del", "dev", "near0", "root") }

// tc changes the near namespace's queues.
func (w *wire) tc(args ...string) {
	w.t.Helper()
	must(w.t, w.near.Do(func() error {
		out, err := exec.Command("tc", append([]string{"qdisc"}, args...)...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) || strings.Contains(string(out), "unknown") {
			need.Skip(w.t, need.Kernel, "no token bucket filter: %v: %s", err, out)
		}
		if err != nil {
			return fmt.Errorf("tc qdisc %v: %w: %s", args, err, out)
		}
		return nil
	}))
}

// What the interface does not take ends the call with the errno that it has natively,
// and is counted.
func TestSendErrors(t *testing.T) {
	need.Time(t, "it sends on several devices")
	for _, c := range []struct {
		name  string
		spoil func(w *wire)
		size  int
		tries int // the error comes within so many
		want  error
		ready bool // the device has refused it by itself
	}{
		{"interface down", func(w *wire) { w.link(netlink.LinkSetDown) }, 100, 1, unix.ENETDOWN, true},
		{"smaller MTU than it was", func(w *wire) {
			w.link(func(l netlink.Link) error { return netlink.LinkSetMTU(l, 600) })
		}, 1000, 1, unix.EMSGSIZE, true},
		{"full queue", func(w *wire) { w.slow(4000) }, 1000, 100, unix.ENOBUFS, false},
		{"full send buffer", func(w *wire) { w.slow(10 << 20) }, 1000, 10000, unix.EAGAIN, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			withWire(t, func(w *wire) {
				w.t = t
				s := w.start(Config{Retire: quick.Retire})
				defer s.Close()
				reader := w.ours(whole)
				defer reader.Close()
				c.spoil(w)
				sent := map[string]int{}
				for _, world := range w.worlds() {
					p := world.socket(unix.SOCK_RAW, 0)
					must(t, p.bind(w.dev.Index(), 0))
					if c.want == unix.ENETDOWN && world.name == "iface" {
						eventually(t, "down", func() bool { return !w.dev.Up() })
					}
					if c.want == unix.EMSGSIZE && world.name == "iface" {
						eventually(t, "the interface's MTU", func() bool { return w.dev.MTU() == 600 })
					}
					var err error
					for range c.tries {
						if err = p.send(make([]byte, c.size), nil); err != nil {
							break
						}
						sent[world.name]++
					}
					if !errors.Is(err, c.want) {
						t.Errorf("%s: %v after %d frames, want %v", world.name, err, sent[world.name], c.want)
					}
					p.close()
					if c.want == unix.ENOBUFS || c.want == unix.EAGAIN { // an empty queue for the next
						w.fast()
						if world.name == "kernel" {
							c.spoil(w)
						}
					}
				}
				if sent["kernel"] != sent["iface"] {
					t.Errorf("%d frames were sent through iface, natively %d", sent["iface"], sent["kernel"])
				}
				st, failed := s.Stats(), uint64(1)
				if c.ready {
					failed = 0
				}
				if st.Sent != uint64(sent["iface"]) || st.SendErrors != failed {
					t.Errorf("%d sent, %d errors, want %d and %d", st.Sent, st.SendErrors, sent["iface"], failed)
				}
			})
		})
	}
}

// A frame that waits for room has not been delivered to sockets.
func TestAFullSendBufferShowsNothing(t *testing.T) {
	need.Time(t, "it fills a send buffer")
	withWire(t, func(w *wire) {
		s := w.start(Config{})
		defer s.Close()
		sender := w.worlds()[1].socket(unix.SOCK_RAW, 0)
		defer sender.close()
		must(t, sender.bind(w.dev.Index(), 0))
		reader, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
		must(t, err)
		defer reader.Close()
		must(t, reader.BindDevice(w.dev, tpacket.ETHPAll))
		w.slow(10 << 20)
		var sent uint64
		eventually(t, "full", func() bool {
			err := sender.send(make([]byte, 1000), nil)
			if err == nil {
				sent++
			}
			return errors.Is(err, unix.EAGAIN)
		})
		if n := reader.Totals().Offered(); n != sent {
			t.Errorf("a reader was offered %d frames, %d were sent", n, sent)
		}
		w.fast()
		eventually(t, "room again", func() bool { return sender.send(make([]byte, 1000), nil) == nil })
	})
}

// What the interface refuses after it was ready shows in nobody's capture: natively sockets
// see a frame when it has passed the queue.
func TestWhatIsRefusedShowsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w *wire)
		size  int
		want  error
	}{
		"smaller MTU than it was": {func(w *wire) {
			w.link(func(l netlink.Link) error { return netlink.LinkSetMTU(l, 600) })
		}, 1000, unix.EMSGSIZE},
		"full queue": {func(w *wire) { w.slow(4000) }, 1000, unix.ENOBUFS},
	} {
		t.Run(name, func(t *testing.T) {
			withWire(t, func(w *wire) {
				w.t = t
				s := w.start(Config{Retire: quick.Retire})
				defer s.Close()
				readers := map[string]party{}
				for _, world := range w.worlds() {
					readers[world.name] = world.socket(unix.SOCK_RAW, 0)
					must(t, readers[world.name].bind(w.dev.Index(), tpacket.ETHPAll))
					defer readers[world.name].close()
				}
				sender := w.worlds()[1].socket(unix.SOCK_RAW, 0)
				defer sender.close()
				must(t, sender.bind(w.dev.Index(), 0))
				c.spoil(w)
				b := make([]byte, c.size)
				binary.BigEndian.PutUint16(b[12:], 0x88b5)
				sent, err := 0, error(nil)
				for sent < 100 {
					if err = sender.send(b, nil); err != nil {
						break
					}
					sent++
				}
				if !errors.Is(err, c.want) {
					t.Fatalf("%v after %d frames, want %v", err, sent, c.want)
				}
				if c.want == unix.ENOBUFS { // a reader of the kernel's sees them when they leave the queue
					w.fast()
				}
				for name, p := range readers {
					seen := 0
					for {
						got := make([]byte, 2000)
						n, _, err := p.receive(got)
						if err != nil {
							break
						}
						if bytes.Equal(got[:n], b) {
							seen++
						}
					}
					if name == "iface" && seen != sent || seen > sent {
						t.Errorf("%s: a reader sees %d frames, %d were sent", name, seen, sent)
					}
				}
			})
		})
	}
}

// PACKET_QDISC_BYPASS passes a queue that is full.
func TestBypass(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{Retire: quick.Retire})
		defer s.Close()
		w.slow(4000)
		for _, world := range w.worlds() {
			p := world.socket(unix.SOCK_RAW, 0)
			must(t, p.bind(w.dev.Index(), 0))
			for i := 0; !errors.Is(p.send(make([]byte, 1000), nil), unix.ENOBUFS); i++ {
				if i == 100 {
					t.Fatalf("%s: the queue is never full", world.name)
				}
			}
			far := w.farEnd()
			must(t, p.set(tpacket.OptQdiscBypass, 1))
			if err := p.send(frame(3), nil); err != nil {
				t.Errorf("%s: past the qdisc: %v", world.name, err)
			}
			if got := read(t, far, 1); got[0].data != string(frame(3)) {
				t.Errorf("%s: %v", world.name, got)
			}
			far.Close()
			p.close()
		}
	})
}

// An interface that is down, and up again later, sends again: an error that a socket
// keeps from then is nobody's any more.
func TestSendingAfterDown(t *testing.T) {
	withWire(t, func(w *wire) {
		far := w.farEnd()
		defer far.Close()
		s := w.start(Config{Retire: quick.Retire})
		defer s.Close()
		sender := w.worlds()[1].socket(unix.SOCK_RAW, 0)
		defer sender.close()
		for _, protocol := range []uint16{0, tpacket.ETHPAll} { // by the socket that only sends, and by the tap's
			must(t, sender.bind(w.dev.Index(), protocol))
			must(t, sender.send(frame(1), nil))
			read(t, far, 1)
			w.link(netlink.LinkSetDown)
			eventually(t, "down", func() bool { return !w.dev.Up() })
			w.link(netlink.LinkSetUp)
			eventually(t, "up", func() bool { return w.dev.Up() })
			w.awaitCarrier()
			err := sender.send(frame(2), nil)
			if protocol != 0 { // it is the sender's own error that is pending
				if !errors.Is(err, unix.ENETDOWN) {
					t.Errorf("the first frame: %v, want ENETDOWN", err)
				}
				err = sender.send(frame(2), nil)
			}
			must(t, err)
			if got := read(t, far, 1); got[0].data != string(frame(2)) {
				t.Errorf("%v", got)
			}
		}
	})
}

// NoSend refuses the frame, and no socket receives it.
func TestNoSend(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{NoSend: true})
		defer s.Close()
		sender := w.worlds()[1].socket(unix.SOCK_RAW, 0)
		defer sender.close()
		must(t, sender.bind(w.dev.Index(), 0))
		reader, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
		must(t, err)
		defer reader.Close()
		must(t, reader.BindDevice(w.dev, tpacket.ETHPAll))
		if err := sender.send(frame(1), nil); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "switched off") {
			t.Errorf("%v", err)
		}
		if n := reader.Totals().Offered(); n != 0 {
			t.Errorf("a reader was offered %d frames", n)
		}
		if st := s.Stats(); st.Sent != 0 || st.SendErrors != 1 {
			t.Errorf("%d sent, %d errors", st.Sent, st.SendErrors)
		}
	})
}

// The mark and the priority of a program's socket go with its frames: a filter of the
// interface acts on them.
func TestMarkAndPriority(t *testing.T) {
	b := sendControl(7, 5)
	messages, err := unix.ParseSocketControlMessage(b)
	must(t, err)
	if len(messages) != 2 {
		t.Fatalf("% x", b)
	}
	for i, want := range []struct{ typ, value uint32 }{{unix.SO_MARK, 7}, {unix.SO_PRIORITY, 5}} {
		m := messages[i]
		if m.Header.Level != unix.SOL_SOCKET || uint32(m.Header.Type) != want.typ || binary.NativeEndian.Uint32(m.Data) != want.value {
			t.Errorf("%+v, want %+v", m, want)
		}
	}
	if b := sendControl(0, 0); b != nil {
		t.Errorf("% x for none", b)
	}
	withWire(t, func(w *wire) {
		s := w.start(Config{})
		defer s.Close()
		var natively []byte
		for _, world := range w.worlds() {
			host := w.worlds()[0].socket(unix.SOCK_RAW, 0).(kernelParty) // another reader of the interface
			must(t, unix.SetsockoptInt(host.fd, unix.SOL_SOCKET, unix.SO_RCVMARK, 1))
			if err := unix.SetsockoptInt(host.fd, unix.SOL_SOCKET, soRcvpriority, 1); err != nil {
				t.Logf("SKIPPED: SO_RCVPRIORITY: %v", err)
			}
			must(t, host.bind(w.dev.Index(), tpacket.ETHPAll))
			p := world.socket(unix.SOCK_RAW, 0)
			must(t, p.bind(w.dev.Index(), 0))
			for option, value := range map[int]uint32{unix.SO_MARK: 7, unix.SO_PRIORITY: 5} {
				var err error
				switch p := p.(type) {
				case kernelParty:
					err = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, option, int(value))
				case ourParty:
					err = p.Setsockopt(unix.SOL_SOCKET, option, binary.NativeEndian.AppendUint32(nil, value))
				}
				must(t, err)
			}
			must(t, p.send(frame(1), nil))
			b, control := make([]byte, 2000), make([]byte, 200)
			n, controlLen, _, from, err := unix.Recvmsg(host.fd, b, control, 0)
			must(t, err)
			if string(b[:n]) != string(frame(1)) || from.(*unix.SockaddrLinklayer).Pkttype != uint8(tpacket.PacketOutgoing) {
				t.Errorf("%s: the host sees %d bytes: % x", world.name, n, b[:n])
			}
			switch control = control[:controlLen]; {
			case world.name == "kernel":
				natively = control
			case !bytes.Equal(control, natively) || len(control) == 0:
				t.Errorf("control messages % x, natively % x", control, natively)
			}
			p.close()
			host.close()
		}
	})
}

const soRcvpriority = 82 // SO_RCVPRIORITY (asm-generic/socket.h)

// On a loopback interface what is sent comes in again, also to its sender.
func TestSendingOnLoopback(t *testing.T) {
	withWire(t, func(w *wire) {
		w.takeLoopback()
		seen := make(map[string][][]string)
		for _, world := range w.worlds() {
			if world.name == "iface" {
				s := w.start(Config{Retire: quick.Retire})
				defer s.Close()
			}
			sender, reader := world.socket(unix.SOCK_RAW, 0), world.socket(unix.SOCK_RAW, 0)
			must(t, sender.bind(w.dev.Index(), tpacket.ETHPAll))
			must(t, reader.bind(w.dev.Index(), tpacket.ETHPAll))
			for i := range 3 {
				if i == 1 {
					must(t, sender.set(tpacket.OptQdiscBypass, 1))
				}
				b := frame(i)
				copy(b, make([]byte, 12)) // lo's addresses
				must(t, sender.send(b, nil))
				must(t, sender.set(tpacket.OptQdiscBypass, 0))
			}
			last := frame(99)
			copy(last, make([]byte, 12))
			end := world.socket(unix.SOCK_RAW, 0)
			must(t, end.bind(w.dev.Index(), 0))
			must(t, end.set(tpacket.OptQdiscBypass, 1)) // so that it comes once
			must(t, end.send(last, nil))
			for _, p := range []party{sender, reader, end} {
				if p != end {
					seen[world.name] = append(seen[world.name], w.account(p, last))
				}
				p.close()
			}
		}
		for i, who := range []string{"sender", "reader"} {
			got, want := seen["iface"][i], seen["kernel"][i]
			slices.Sort(got) // what comes in comes in its own time
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s sees\n%s\nthrough iface, natively\n%s", who, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// Packets without a link-layer header.
func TestSendingThroughATunnel(t *testing.T) {
	withWire(t, func(w *wire) {
		tun := w.takeTunnel()
		defer tun.Close()
		s := w.start(Config{})
		defer s.Close()
		packet := tcp(20)[14:]
		for _, world := range w.worlds() {
			for _, typ := range []int{unix.SOCK_RAW, unix.SOCK_DGRAM} {
				p := world.socket(typ, 0)
				must(t, p.send(packet, &tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 77, Protocol: tpacket.Htons(tpacket.ETHPIP)}))
				p.close()
				b := make([]byte, 2000)
				eventually(t, "it leaves", func() bool {
					n, err := tun.Read(b)
					return err == nil && string(b[:n]) == string(packet)
				})
			}
		}
	})
}
