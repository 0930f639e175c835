package conn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/interpose"
	"github.com/rxring/rxring/source/conn"
	"github.com/rxring/rxring/tpacket"
)

// choppy is a connection with Writes that are often cut short, as by a deadline.
type choppy struct {
	net.Conn
	framing conn.Framing

	mu     sync.Mutex
	random *rand.Rand
	wire   bytes.Buffer
	frames [][]byte // of datagrams
}

func (c *choppy) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch short := c.random.IntN(4) == 0; {
	case short && c.framing == conn.Datagram:
		return 0, syscall.ENOBUFS
	case short:
		n := c.random.IntN(len(b))
		c.wire.Write(b[:n])
		return n, os.ErrDeadlineExceeded
	}
	c.wire.Write(b)
	c.frames = append(c.frames, bytes.Clone(b))
	return len(b), nil
}

func (c *choppy) Close() error { return nil }

// written returns the frames that were written, after a greeting.
func (c *choppy) written(greeting int) (frames [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.framing == conn.Datagram {
		return c.frames
	}
	b := c.wire.Bytes()
	for b = b[min(greeting, len(b)):]; len(b) > 4; {
		at, n := 2, int(binary.LittleEndian.Uint16(b))
		if c.framing == conn.QEMU {
			at, n = 4, int(binary.BigEndian.Uint32(b))
		}
		if at+n > len(b) {
			break
		}
		frames, b = append(frames, b[at:at+n]), b[at+n:]
	}
	return frames
}

// writeAll writes b in pieces, and what is left of a piece again, as a user that sets deadlines
// does.
func writeAll(t *testing.T, w io.Writer, b []byte, piece func(left int) int) {
	for len(b) > 0 {
		n, err := w.Write(b[:piece(len(b))])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ENOBUFS) {
			t.Error(err)
			return
		}
		b = b[n:]
	}
}

// TestSentFramesAreWrittenBetweenThoseOfTheUser: each frame of the user and of a packet socket
// arrives once, whole and in order, however the user divides its Writes and however short
// those of the connection are.
func TestSentFramesAreWrittenBetweenThoseOfTheUser(t *testing.T) {
	need.Time(t, "it sends for a second")
	all := append(framings[:len(framings):len(framings)], framings[0])
	all[len(framings)].name, all[len(framings)].framing = "Datagram", conn.Datagram
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			lower := &choppy{framing: tt.framing, random: rand.New(rand.NewPCG(1, 2))}
			c, err := conn.Add(ns, lower, tt.framing, conn.Config{Name: "vm0", MTU: 9000, Send: true})
			rxtest.Must(t, err)
			defer c.Close()
			dev, _ := ns.DeviceByName("vm0")
			sender := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
			rd := open(t, ns, tpacket.Req{BlockSize: 1 << 18, BlockNr: 16, FrameSize: 1 << 14, FrameNr: 256})

			const frames = 100
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for n := range byte(frames) {
					for {
						_, err := sender.Send(frame(100+n, 60+int(n)))
						if err == nil {
							break
						}
						if !errors.Is(err, syscall.EAGAIN) {
							t.Error(err)
							return
						}
					}
				}
			}()
			random := rand.New(rand.NewPCG(3, 4))
			writeAll(t, c, make([]byte, tt.greeted[1]), func(left int) int { return min(left, 1+random.IntN(50)) })
			for n := range byte(frames) {
				f := frame(n, 14+random.IntN(3000))
				if tt.framing == conn.Datagram {
					writeAll(t, c, f, func(left int) int { return left })
					continue
				}
				writeAll(t, c, append(tt.length(len(f)), f...), func(left int) int { return min(left, 1+random.IntN(2000)) })
			}
			<-sent
			var got [][]byte
			for len(got) < 2*frames { // the last are still written
				time.Sleep(time.Millisecond)
				if got = lower.written(tt.greeted[1]); t.Failed() {
					return
				}
			}
			next, delivered := [2]byte{0, 100}, map[bool]int{}
			for _, f := range got {
				by := f[14] / 100
				if f[14] != next[by] || !bytes.Equal(f, frame(f[14], len(f))) {
					t.Fatalf("frame %d of %d bytes, want frame %d: % x", f[14], len(f), next[by], f)
				}
				next[by]++
			}
			for {
				f, ok := rd.Next()
				if !ok {
					break
				}
				if f.From.Pkttype != tpacket.PacketOutgoing {
					t.Errorf("packet type %d", f.From.Pkttype)
				}
				delivered[f.Data[14] >= 100]++
				f.Release()
			}
			if delivered[true] != frames || delivered[false] != frames || len(got) != 2*frames {
				t.Errorf("%d frames written; %v delivered, want %d each", len(got), delivered, frames)
			}
		})
	}
}

func TestFramesThatCannotBeSentAreRefusedWithAnErrno(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	host, machine := net.Pipe()
	c, err := conn.Add(ns, host, conn.HyperKit, conn.Config{Name: "vm0", MTU: 65535, Send: true})
	rxtest.Must(t, err)
	defer c.Close()
	dev, _ := ns.DeviceByName("vm0")
	sender := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	if _, err := sender.Send(frame(1, 65536)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a frame that is longer than 2 bytes can say: %v, want EMSGSIZE", err)
	}
	sent := 0
	for ; sent < 1000; sent++ { // the machine does not read
		if _, err = sender.Send(frame(1, 60)); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.EAGAIN) || sent < 64 {
		t.Errorf("after %d frames: %v, want EAGAIN", sent, err)
	}
	machine.Close()
	for err == nil || errors.Is(err, syscall.EAGAIN) { // until the failure is noticed
		_, err = sender.Send(frame(1, 60))
	}
	if !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("the machine has closed the connection: %v, want ENETDOWN", err)
	}
}

// TestCloseEndsSending closes while a frame waits for the machine, and for the user's.
func TestCloseEndsSending(t *testing.T) {
	for _, within := range []bool{false, true} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		host, machine := net.Pipe()
		c, err := conn.Add(ns, host, conn.QEMU, conn.Config{Name: "vm0", Send: true})
		rxtest.Must(t, err)
		dev, _ := ns.DeviceByName("vm0")
		sender := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
		if within {
			go machine.Read(make([]byte, 2))
			_, err := c.Write([]byte{0, 0}) // half a length
			rxtest.Must(t, err)
		}
		_, err = sender.Send(frame(1, 60))
		rxtest.Must(t, err, c.Close(), c.Close())
		if _, err := sender.Send(frame(1, 60)); !errors.Is(err, syscall.ENXIO) && !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("after Close: %v", err)
		}
		machine.Close()
	}
}

// TestArpingIsAnsweredByTheMachine runs the unmodified program.
func TestArpingIsAnsweredByTheMachine(t *testing.T) {
	need.Program(t, "arping")
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	host, machine := net.Pipe()
	defer machine.Close()
	vm, err := conn.Add(ns, host, conn.QEMU, conn.Config{Name: "vm0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}, Send: true})
	rxtest.Must(t, err)
	defer vm.Close()
	go io.Copy(io.Discard, vm) // what the machine sends
	go answerARP(machine)

	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	rxtest.Must(t, err)
	defer out.Close()
	_, err = interpose.Run(t.Context(), interpose.Config{
		Namespace: ns,
		Args:      []string{"arping", "-D", "-c", "1", "-w", "60", "-I", "vm0", "192.0.2.2"}, // -D: needs no route of the system's
		Stdout:    out,
	})
	rxtest.Must(t, err)
	text, err := os.ReadFile(out.Name())
	rxtest.Must(t, err)
	if !strings.Contains(string(text), "reply from 192.0.2.2 [02:00:00:00:00:55]") {
		t.Errorf("arping prints %q", text)
	}
}

// answerARP answers requests as the machine at 192.0.2.2.
func answerARP(machine net.Conn) {
	b := make([]byte, 4+1514)
	for {
		if _, err := io.ReadFull(machine, b[:4]); err != nil {
			return
		}
		f := b[4:][:binary.BigEndian.Uint32(b)]
		if _, err := io.ReadFull(machine, f); err != nil {
			return
		}
		if len(f) < 42 || !bytes.Equal(f[12:14], []byte{0x08, 0x06}) {
			continue
		}
		mac, target := []byte("\x02\x00\x00\x00\x00\x55"), bytes.Clone(f[38:42])
		f[21] = 2              // a reply
		copy(f[32:42], f[22:]) // to the sender
		copy(f[:6], f[22:])
		copy(f[6:12], mac)
		copy(f[22:28], mac)
		copy(f[28:32], target)
		machine.Write(b[:4+len(f)])
	}
}

// A datagram that the connection refuses costs its sender a frame, and the connection's user nothing.
func TestADatagramThatCannotBeWritten(t *testing.T) {
	lower, peer := datagrams(t)
	rxtest.Must(t, lower.(*net.UnixConn).SetWriteBuffer(4096)) // which Linux doubles
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	c, err := conn.Add(ns, lower, conn.Datagram, conn.Config{Name: "vm0", MTU: 65000, Send: true})
	rxtest.Must(t, err)
	defer c.Close()
	dev, _ := ns.DeviceByName("vm0")
	sender := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	_, err = sender.Send(frame(1, 60000))
	rxtest.Must(t, err)
	var lost error
	for deadline := time.Now().Add(time.Minute); lost == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := c.Write(frame(2, 60)); err != nil {
			t.Fatalf("the user's Write: %v", err)
		}
		receive(t, peer, frame(2, 60))
		if _, lost = sender.Send(frame(3, 60)); lost == nil {
			receive(t, peer, frame(3, 60))
		}
	}
	if want := "an earlier frame is lost, as it could not be written to the connection ("; !errors.Is(lost, syscall.ENOBUFS) || !strings.Contains(lost.Error(), want) || !strings.Contains(lost.Error(), "message too long") {
		t.Errorf("%v, want %s", lost, want)
	}
	_, err = sender.Send(frame(4, 60))
	rxtest.Must(t, err)
	receive(t, peer, frame(4, 60))
}

// datagrams returns the ends of a pair of datagram sockets.
func datagrams(t *testing.T) (a, b net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peer")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		need.Skip(t, need.System, "%v", err)
	}
	rxtest.Must(t, err)
	t.Cleanup(func() { l.Close() })
	a, err = net.Dial("unixgram", path)
	rxtest.Must(t, err)
	return a, l
}

// receive checks the next datagram.
func receive(t *testing.T, peer net.Conn, want []byte) {
	t.Helper()
	b := make([]byte, 1<<16)
	rxtest.Must(t, peer.SetReadDeadline(time.Now().Add(time.Minute)))
	n, err := peer.Read(b)
	rxtest.Must(t, err)
	if !bytes.Equal(b[:n], want) {
		t.Fatalf("%d bytes, %.20x; want %d, %.20x", n, b[:n], len(want), want)
	}
}
