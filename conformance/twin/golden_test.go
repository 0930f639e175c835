package twin_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

// TestRingHoldsWhatTheKernelWrote delivers the packets of tpacket's golden
// files, which a running kernel recorded, and wants the kernel's bytes in every
// slot. Only what belongs to the run is set apart: the time, and the device's
// index.
func TestRingHoldsWhatTheKernelWrote(t *testing.T) {
	packets := make(map[string]goldenPacket)
	for _, text := range goldenParts(t, "../../tpacket/testdata/packets.txt") {
		p := parsePacket(t, text)
		packets[p.name] = p
	}
	compared := 0
	for _, file := range []string{"v1", "v2", "v3"} {
		for _, text := range goldenParts(t, "../../tpacket/testdata/"+file+".txt") {
			c := parseCase(t, text)
			compared++
			t.Run(file+"/"+c.name, func(t *testing.T) { c.compare(t, packets) })
		}
	}
	if compared < 150 {
		t.Errorf("compared %d cases: the golden files have lost some", compared)
	}
	t.Logf("compared %d frames with the kernel's", compared)
}

type goldenPacket struct {
	name     string
	device   string
	outgoing bool
	data     []byte
}

type goldenCase struct {
	name                string
	typ                 rxring.SockType
	version             tpacket.Version
	reserve             uint32
	vnetHdr, copyThresh string
	request             tpacket.Req3
	packets             []string
	memory              []byte
}

func (c goldenCase) compare(t *testing.T, packets map[string]goldenPacket) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	devices := map[string]*rxring.Device{
		"tap0": rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tap0", HardwareAddr: [6]byte{2, 0, 0, 0, 0, 1}}),
		"tun0": rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP}),
	}
	s, err := ns.Socket(c.typ, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.SetVersion(c.version), rxtest.SetInt(s, tpacket.OptReserve, int(c.reserve)))
	if c.vnetHdr == "true" {
		rxtest.Must(t, rxtest.SetInt(s, tpacket.OptVnetHdrSz, 10))
	}
	thresh, err := strconv.Atoi(c.copyThresh)
	rxtest.Must(t, err, s.Setsockopt(tpacket.SolPacket, tpacket.OptCopyThresh, rxtest.Int(int32(thresh))))
	rxtest.Must(t, s.SetRxRing3(c.request))
	index := 0
	for _, name := range c.packets {
		g, ok := packets[name]
		if !ok {
			t.Fatalf("no packet %q", name)
		}
		p := rxring.Packet{Data: g.data, Outgoing: g.outgoing}
		switch name {
		case "checksum-to-do":
			p.Checksum, p.ChecksumStart, p.ChecksumOffset = rxring.ChecksumPartial, 34, 6
		case "tcp-segments":
			p.Checksum, p.ChecksumStart, p.ChecksumOffset = rxring.ChecksumPartial, 34, 16
			p.GSO = rxring.GSO{Type: rxring.GSOTCPv4, Size: 100, HdrLen: 54}
		}
		devices[g.device].Deliver(&p)
		index = devices[g.device].Index()
	}
	var got []byte
	if b, ok := s.Ring().(*writer.Blocks); ok {
		b.Expire()
		got = c.usedOfBlocks(t, b, index)
	} else {
		got = bytes.Clone(s.Ring().Memory().Bytes()[:len(c.memory)])
		c.ownAddress(t, got, 0, index)
		stamp := map[tpacket.Version]int{tpacket.V1: 20, tpacket.V2: 16}[c.version]
		clear(got[stamp : stamp+8]) // tp_sec, tp_usec or tp_nsec
	}
	if !bytes.Equal(got, c.memory) {
		t.Errorf("rxring:\n%skernel:\n%s", hex.Dump(got), hex.Dump(c.memory))
	}
}

// ownAddress checks the device's index in the address of the packet that got
// begins with, and makes it the recorded one, of the packet at offset in the
// kernel's memory.
func (c goldenCase) ownAddress(t *testing.T, got []byte, offset, index int) {
	at := tpacket.Align(c.version.HeaderSize())
	sll := tpacket.Parse[tpacket.SockaddrLL](got[at:])
	if int(sll.Ifindex) != index {
		t.Errorf("sll_ifindex %d, want the device's, %d", sll.Ifindex, index)
	}
	sll.Ifindex = tpacket.Parse[tpacket.SockaddrLL](c.memory[min(offset+at, len(c.memory)):]).Ifindex
	copy(got[at:], tpacket.Bytes(&sll))
}

// usedOfBlocks is what a program would read, block after block, without what
// belongs to the run: times and indexes.
func (c goldenCase) usedOfBlocks(t *testing.T, b *writer.Blocks, index int) (used []byte) {
	for block := range slices.Chunk(b.Memory().Bytes(), int(c.request.BlockSize)) {
		got := bytes.Clone(block)
		d := tpacket.Parse[tpacket.BlockDesc](got)
		if d.Status == tpacket.StatusKernel {
			break
		}
		d.First, d.Last = tpacket.Timestamp{}, tpacket.Timestamp{}
		copy(got, tpacket.Bytes(&d))
		at := int(d.OffsetToFirstPkt)
		for range d.NumPkts {
			h := tpacket.Header3At(got[at:])
			h.Sec, h.Nsec = 0, 0
			c.ownAddress(t, got[at:], len(used)+at, index)
			at += int(h.NextOffset)
		}
		used = append(used, got[:d.BlkLen]...)
	}
	return used
}

// goldenParts splits a golden file at its blank lines, comments left out.
func goldenParts(t *testing.T, path string) (parts []string) {
	raw, err := os.ReadFile(path)
	rxtest.Must(t, err)
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	for _, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if !strings.HasPrefix(part, "#") {
			parts = append(parts, part)
		}
	}
	return parts
}

func parsePacket(t *testing.T, text string) goldenPacket {
	head, dump, _ := strings.Cut(text, "\n")
	f := strings.FieldsFunc(head, func(r rune) bool { return r == ' ' || r == ',' })
	// packet NAME, N bytes, arrives at DEVICE, with ... | leaves through DEVICE, ...
	n, err := strconv.Atoi(f[2])
	rxtest.Must(t, err)
	return goldenPacket{name: f[1], outgoing: f[4] == "leaves", device: f[6], data: undump(t, dump, n)}
}

func parseCase(t *testing.T, text string) (c goldenCase) {
	lines := strings.Split(text, "\n")
	c.name = strings.TrimPrefix(lines[0], "case ")
	var typ, version string
	_, err := fmt.Sscanf(lines[1], "socket %s %s reserve %d vnet_hdr %s copy_thresh %s", &typ, &version, &c.reserve, &c.vnetHdr, &c.copyThresh)
	rxtest.Must(t, err)
	_, err = fmt.Sscanf(lines[2], "request block_size %d block_nr %d frame_size %d frame_nr %d",
		&c.request.BlockSize, &c.request.BlockNr, &c.request.FrameSize, &c.request.FrameNr)
	rxtest.Must(t, err)
	if _, more, ok := strings.Cut(lines[2], " retire_blk_tov "); ok {
		_, err = fmt.Sscanf(more, "%d sizeof_priv %d feature_req_word %d", &c.request.RetireBlkTov, &c.request.SizeofPriv, &c.request.FeatureReqWord)
		rxtest.Must(t, err)
		c.request.RetireBlkTov = 1 << 30 // the test is the timer
	}
	c.typ = map[string]rxring.SockType{"SOCK_RAW": rxring.SockRaw, "SOCK_DGRAM": rxring.SockDgram}[typ]
	c.version = map[string]tpacket.Version{"TPACKET_V1": tpacket.V1, "TPACKET_V2": tpacket.V2, "TPACKET_V3": tpacket.V3}[version]
	for i, line := range lines[3:] {
		if name, ok := strings.CutPrefix(line, "packet "); ok {
			name, _, _ = strings.Cut(name, ",")
			c.packets = append(c.packets, name)
			continue
		}
		n := 0
		_, err = fmt.Sscanf(line, "memory %d bytes", &n)
		rxtest.Must(t, err)
		c.memory = undump(t, strings.Join(lines[3+i+1:], "\n"), n)
		break
	}
	return c
}

func undump(t *testing.T, text string, n int) []byte {
	b := make([]byte, n)
	for line := range strings.Lines(text) {
		offset, digits, _ := strings.Cut(strings.TrimSpace(line), "  ")
		at, err := strconv.ParseUint(offset, 16, 31)
		rxtest.Must(t, err)
		data, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		rxtest.Must(t, err)
		copy(b[at:], data)
	}
	return b
}
