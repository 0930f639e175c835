package twin_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// An idle ring hands over nothing, and a packet after the silence goes to the reader
// by the timer, alone in its block: in the kernel's ring as in rxring's, where the
// timer has stopped meanwhile.
func TestAnIdleRingOfBlocks(t *testing.T) {
	withTwins(t, func(w *twins) {
		req := tpacket.Req3{Req: tpacket.Req{BlockSize: 4096, BlockNr: 4, FrameSize: 2048, FrameNr: 8}, RetireBlkTov: 1}
		theirs, err := w.kernel.OpenRing(kring.RingConfig{Type: unix.SOCK_RAW, Version: tpacket.V3, Request: req})
		rxtest.Must(t, err)
		defer theirs.Close()
		rxtest.Must(t, theirs.Bind(int(w.dev.Index()), 0x88b5))
		ours, err := w.ns.Socket(rxring.SockRaw, 0)
		rxtest.Must(t, err)
		defer ours.Close()
		rxtest.Must(t, ours.SetVersion(tpacket.V3), ours.SetRxRing3(req))
		rxtest.Must(t, ours.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Protocol: tpacket.Htons(0x88b5), Ifindex: int32(w.dev.Index())}))
		mem := ours.Ring().Memory().Bytes()
		packet := rxtest.Frame(60)
		packet[12], packet[13] = 0x88, 0xb5

		// blocks says what the reader has, and how many packets are in each block.
		blocks := func(mem []byte) (s string) {
			for i := range req.BlockNr {
				d := tpacket.Parse[tpacket.BlockDesc](mem[i*req.BlockSize:])
				s += fmt.Sprintf("{%#x %d packets, number %d} ", d.Status, d.NumPkts, d.SeqNum)
			}
			return s
		}
		for round := range 3 {
			time.Sleep(50 * time.Millisecond) // idle
			w.arrives(packet)
			// Not before a packet is there.
			for deadline := time.Now().Add(time.Minute); blocks(theirs.Mem) != blocks(mem) || tpacket.Parse[tpacket.BlockDesc](mem[round*4096:]).Status == 0; {
				if time.Now().After(deadline) {
					t.Fatalf("round %d:\nkernel %s\nrxring %s", round, blocks(theirs.Mem), blocks(mem))
				}
				time.Sleep(time.Millisecond)
			}
		}
	})
}
