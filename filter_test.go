package rxring_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// cookedFilters returns the filters that libpcap attaches for `-i any`, by expression.
func cookedFilters(t *testing.T) map[string][]cbpf.Instruction {
	f, err := os.Open("cbpf/testdata/live_any.txt")
	rxtest.Must(t, err)
	defer f.Close()
	all := make(map[string][]cbpf.Instruction)
	expression := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if e, ok := strings.CutPrefix(lines.Text(), "# "); ok {
			expression = e
			continue
		}
		var in cbpf.Instruction
		_, err := fmt.Sscan(lines.Text(), &in.Op, &in.Jt, &in.Jf, &in.K)
		rxtest.Must(t, err)
		all[expression] = append(all[expression], in)
	}
	for expression, prog := range all {
		if _, err := cbpf.Compile(prog); err != nil {
			delete(all, expression) // libpcap runs it itself
		}
	}
	return all
}

// received returns the one packet in the queue of a socket.
func received(s *rxring.Socket) ([]byte, bool) {
	b := make([]byte, 200)
	m, err := s.Recv(b, 0)
	return b[:m.N], err == nil
}

// A source that runs a SOCK_DGRAM socket's filter as Filters returns it, for a SOCK_RAW socket,
// delivers all that the socket accepts and, but for outgoing packets with tags, nothing else.
func TestFiltersOfSockDgramAreThoseOfSockRaw(t *testing.T) {
	tcp := rxtest.TCPFrame(60)
	packets := map[string]rxring.Packet{
		"a TCP segment":             {Data: tcp},
		"to another host":           {Data: append([]byte{2, 9, 9, 9, 9, 9}, tcp[6:]...)},
		"in pieces":                 {Data: tcp[:20], Rest: [][]byte{tcp[20:37], tcp[37:]}},
		"sent":                      {Data: tcp, Outgoing: true},
		"with a tag":                {Data: rxtest.TCPFrame(60, 5)},
		"with two tags":             {Data: rxtest.TCPFrame(60, 5, 6)},
		"with a tag beside it":      {Data: tcp, VLAN: rxring.VLAN{TPID: tpacket.ETHP8021Q, TCI: 5}},
		"sent with a tag":           {Data: rxtest.TCPFrame(60, 5), Outgoing: true},
		"sent with two tags":        {Data: rxtest.TCPFrame(60, 5, 6), Outgoing: true},
		"sent with a tag beside it": {Data: tcp, VLAN: rxring.VLAN{TPID: tpacket.ETHP8021Q, TCI: 5}, Outgoing: true},
		"a header and nothing else": {Data: tcp[:14]},
		"LLDP":                      {Data: rxtest.Ethernet(0x88cc, 100)},
		"truncated":                 {Data: tcp[:40], Len: len(tcp)},
		"IP alone":                  {Data: tcp[14:]},
		"IP alone, behind a header": {Data: append([]byte{1, 2, 3, 4}, tcp[14:]...), Link: &rxring.Link{HeaderLen: 4, Protocol: tpacket.ETHPIP}},
	}
	filters := cookedFilters(t)
	filters["a verdict that is computed"] = rxtest.KeepLen()
	pushed := 0
	for expression, prog := range filters {
		for _, typ := range []rxring.DeviceType{rxring.Ethernet, rxring.Loopback, rxring.RawIP} {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", Type: typ, HardwareAddr: rxtest.OwnAddr})
			cooked, err := ns.Socket(rxring.SockDgram, 0)
			rxtest.Must(t, err, cooked.AttachFilter(prog), cooked.BindDevice(dev, tpacket.ETHPAll))
			programs, all := dev.Filters()
			if all {
				if typ.Ethernet() {
					t.Errorf("%s: no filter for type %v", expression, typ)
				}
				continue
			}
			pushed++
			raw, err := ns.Socket(rxring.SockRaw, 0)
			rxtest.Must(t, err, raw.AttachFilter(programs[0]), raw.BindDevice(dev, tpacket.ETHPAll))
			for what, p := range packets {
				dev.Deliver(&p)
				want, got := received(cooked)
				have, source := received(raw)
				more := p.Outgoing && strings.Contains(what, "tag")
				if got && !source || source && !got && !more {
					t.Errorf("%s, type %v: %s: the socket accepts it: %v, a source: %v\n%v", expression, typ, what, got, source, programs[0])
				} else if got && !bytes.HasSuffix(have, want) {
					t.Errorf("%s, type %v: %s: % x from the source, want % x at its end", expression, typ, what, have, want)
				}
			}
			rxtest.Must(t, cooked.Close(), raw.Close())
		}
	}
	if pushed < 2*len(filters) {
		t.Errorf("%d filters of %d are for sources", pushed, 3*len(filters))
	}
}
