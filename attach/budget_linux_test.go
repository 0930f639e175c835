package attach_test

import (
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/tpacket"
)

// longestProgram is as many instructions as there may be (BPF_MAXINSNS).
func longestProgram() string {
	b := make([]byte, 4096*8)
	binary.NativeEndian.PutUint16(b[len(b)-8:], 0x06) // ret #0
	return string(b)
}

// A user whose rule says 1 MiB costs little more, however many processes, sockets, filters
// and lists there are, and although no answer is read.
func TestMaxMemoryIsForAllThatAUserHas(t *testing.T) {
	const most = 1 << 20
	o := listen(t, attach.Config{Grant: func(attach.Peer) (attach.Grant, error) {
		return attach.Grant{MaxMemory: most, MaxSockets: 1000, AllStatus: true}, nil
	}})
	heap := func() (n uint64) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what a sync.Pool held is gone after the second
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	program := longestProgram()
	var peers []*net.UnixConn
	refused := make(map[string]int)
	note := func(what string, errno uint32, text []byte) bool {
		if errno == 0 {
			return false
		}
		if errno != uint32(unix.ENOMEM) || !strings.Contains(string(text), "the memory budget has") {
			t.Errorf("%s: %d %s", what, errno, text)
		}
		refused[what]++
		return true
	}
	for range 64 {
		c := raw(t, o.Addr())
		c.Write(request(hello, 0, 1, word, theVersion)) // who is refused has its answer before
		errno, text, _, err := answer(t, c)
		if err != nil { // that it was hung up on is reported once, before what there is to read
			errno, text, _, err = answer(t, c)
		}
		must(t, err)
		if note("connection", errno, text) {
			break
		}
		peers = append(peers, c)
		for id := range uint32(20) {
			errno, text, _ := ask(t, c, request(newSocket, 0, 2, 3, tpacket.ETHPAll))
			if note("socket", errno, text) {
				break
			}
			errno, text, _ = ask(t, c, request(10, id+1, 3, program))
			note("filter", errno, text)
			errno, text, _ = ask(t, c, request(setsockopt, id+1, 4, tpacket.SolPacket, tpacket.OptFanout, 0, int(tpacket.FanoutArgs(uint16(id), tpacket.FanoutCBPF, 0))))
			note("group", errno, text)
			errno, text, _ = ask(t, c, request(12, id+1, 5, program))
			note("program", errno, text)
		}
	}
	for _, c := range peers {
		if _, err := c.Write(request(receive, 1, 6, 0, 1<<20)); err != nil { // the answer is not read
			t.Error(err)
		}
	}
	for range 100 {
		o.dev.Deliver(&rxring.Packet{Data: frame(1, 1000)})
	}
	grown := int64(heap() - before)
	t.Logf("%d peers; refused: %v; the process grew by %d KiB", len(peers), refused, grown>>10)
	for _, what := range []string{"connection", "filter"} {
		if refused[what] == 0 {
			t.Errorf("every %s was had", what)
		}
	}
	if grown > 4*most {
		t.Errorf("the process grew by %d KiB for a user who may have %d KiB", grown>>10, most>>10)
	}
}

// What a user has is charged once, and given back.
func TestBudgetIsGivenBack(t *testing.T) {
	budget := rxring.NewBudget(64 << 20)
	o := listen(t, attach.Config{Grant: func(attach.Peer) (attach.Grant, error) {
		return attach.Grant{Socket: rxring.Grant{Budget: budget}}, nil
	}})
	for range 3 {
		c := o.dial(t)
		s := socket(t, c, rxring.SockRaw)
		setRing(t, s, slots)
		bind(t, s, 7)
		other := socket(t, c, rxring.SockRaw)
		bind(t, other, 7)
		o.dev.Deliver(&rxring.Packet{Data: frame(1, 1400)})
		if _, err := other.Recv(make([]byte, 64<<10), 0); err != nil {
			t.Error(err)
		}
		if _, err := c.Status(); err != nil {
			t.Error(err)
		}
		if least := int64(slots.BlockSize * slots.BlockNr); budget.Held() < least {
			t.Errorf("%d bytes are charged, want at least the ring, %d", budget.Held(), least)
		}
		c.Close()
		eventually(t, "all is given back", func() bool { return budget.Held() == 0 })
	}
}

func TestUnreadAnswers(t *testing.T) {
	faults := make(chan attach.Event, 10)
	o := listen(t, attach.Config{Notify: func(e attach.Event) {
		if e.Kind == attach.PeerFaulted {
			faults <- e
		}
	}})
	c, _ := greeted(t, o.Addr())
	for seq := range uint32(2) {
		_, err := c.Write(request(devices, 0, seq, 0, 1))
		must(t, err)
	}
	if e := <-faults; !strings.Contains(e.Err.Error(), "a request before it has read the previous answer") {
		t.Errorf("event %+v", e)
	}
}
