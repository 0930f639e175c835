package tpacket_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// The files in testdata hold what a running Linux kernel wrote into its rings,
// a frame (V1, V2) or the used parts of the blocks (V3) for each case of
// goldenCases, with only the timestamps and the bits that name their source
// zeroed. TestFramesAreTheKernels builds the same bytes with this package, on
// any system; TestKernelWritesTheGoldenFrames asks the running kernel again.
//
// go test -run TestKernelWritesTheGoldenFrames -update records them anew.

var goldenPath = map[tpacket.Version]string{
	tpacket.V1: "testdata/v1.txt",
	tpacket.V2: "testdata/v2.txt",
	tpacket.V3: "testdata/v3.txt",
}

// packetsPath shows the packets that the cases name.
const packetsPath = "testdata/packets.txt"

// goldenPage is the page size of the machine that recorded the files.
const goldenPage = 4096

func TestFramesAreTheKernels(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		need.Skip(t, need.Inapplicable, "the golden frames are little-endian")
	}
	for v, path := range goldenPath {
		golden := readGolden(t, path)
		for _, c := range goldenCases() {
			if c.version != v {
				continue
			}
			t.Run(v.String()+"/"+c.name, func(t *testing.T) {
				want, ok := golden[c.name]
				if !ok {
					t.Fatalf("not in %s: record with -update", path)
				}
				delete(golden, c.name)
				if want.asked != c.asked() {
					t.Fatalf("%s holds the answer to another question: record with -update\nthere:\n%shere:\n%s", path, want.asked, c.asked())
				}
				g, err := tpacket.Layout(c.version, c.request, c.reserve, goldenPage)
				if err != nil {
					t.Fatalf("the kernel took this request: %v", err)
				}
				got := c.build(g)
				if !bytes.Equal(got, want.memory) {
					t.Errorf("built:\n%sthe kernel's:\n%s", dump(got), dump(want.memory))
				}
			})
		}
		if flag.Lookup("test.run").Value.String() == "" && len(golden) > 0 {
			t.Errorf("%s has %d cases that no test asks for", path, len(golden))
		}
	}
}

func (c goldenCase) build(g tpacket.Geometry) []byte {
	if c.version == tpacket.V3 {
		return c.buildBlocks(g)
	}
	return c.buildFrame(g)
}

// buildFrame is tpacket_rcv in small: the frame of a zeroed V1 or V2 ring after
// one packet.
func (c goldenCase) buildFrame(g tpacket.Geometry) []byte {
	frame := make([]byte, g.FrameSize)
	p := c.delivered()[0]
	off := c.offsets(p)
	data, status := c.seen(p), c.status(p)
	snaplen := max(0, min(len(data), int(g.FrameSize)-int(off.Mac)))
	if snaplen < len(data) && c.copyThresh > 0 {
		status |= tpacket.StatusCopy
	}
	tci, tpid := c.vlan(p)
	sll := c.sockaddr(p)

	switch c.version {
	case tpacket.V1:
		h := tpacket.Header1{
			Status: uint64(status), Len: uint32(len(data)), Snaplen: uint32(snaplen),
			Mac: uint16(off.Mac), Net: uint16(off.Net),
		}
		copy(frame, tpacket.Bytes(&h))
	case tpacket.V2:
		h := tpacket.Header2{
			Status: status, Len: uint32(len(data)), Snaplen: uint32(snaplen),
			Mac: uint16(off.Mac), Net: uint16(off.Net), VLANTCI: tci, VLANTPID: tpid,
		}
		copy(frame, tpacket.Bytes(&h))
	}
	copy(frame[tpacket.Align(c.version.HeaderSize()):], tpacket.Bytes(&sll))
	if c.vnetHdr {
		copy(frame[off.Mac-vnetLen:], p.reported[:])
	}
	if snaplen > 0 {
		copy(frame[off.Mac:], data[:snaplen])
	}
	return frame
}

// buildBlocks is the used parts of a zeroed V3 ring's blocks after the case's
// packets, the last block closed by its timer.
func (c goldenCase) buildBlocks(g tpacket.Geometry) (memory []byte) {
	first := tpacket.SizeofBlockDesc + (c.request.SizeofPriv+7)&^7
	var block []byte
	var at, last uint32 // where the next packet goes, where the last one is
	d := tpacket.BlockDesc{Version: uint32(tpacket.V3), OffsetToPriv: tpacket.SizeofBlockDesc, OffsetToFirstPkt: first}
	open := func() {
		block = make([]byte, g.BlockSize)
		d.NumPkts = 0
		d.SeqNum++
		at = first
	}
	retire := func(status uint32) {
		d.Status, d.BlkLen = status, at
		if d.NumPkts > 0 {
			h := tpacket.Parse[tpacket.Header3](block[last:])
			h.NextOffset = 0
			copy(block[last:], tpacket.Bytes(&h))
		}
		copy(block, tpacket.Bytes(&d))
		memory = append(memory, block[:at]...)
	}

	open()
	for _, p := range c.delivered() {
		off := c.offsets(p)
		data := c.seen(p)
		snaplen := min(uint32(len(data)), g.BlockSize-first-off.Mac)
		next := (off.Mac + snaplen + 7) &^ 7
		// Not <=: a packet that would fill a block to its last byte goes to the
		// next one, even when that leaves a block with no packet at all.
		if at+next >= g.BlockSize {
			retire(tpacket.StatusUser)
			open()
		}
		tci, tpid := c.vlan(p)
		sll := c.sockaddr(p)
		h := tpacket.Header3{
			NextOffset: next, Snaplen: snaplen, Len: uint32(len(data)), Status: c.status(p),
			Mac: uint16(off.Mac), Net: uint16(off.Net), VLANTCI: uint32(tci), VLANTPID: tpid,
		}
		copy(block[at:], tpacket.Bytes(&h))
		copy(block[at+uint32(tpacket.Align(tpacket.SizeofHeader3)):], tpacket.Bytes(&sll))
		if c.vnetHdr {
			copy(block[at+off.Mac-vnetLen:], p.reported[:])
		}
		copy(block[at+off.Mac:], data[:snaplen])
		last, at = at, at+next
		d.NumPkts++
	}
	retire(tpacket.StatusUser | tpacket.StatusBlkTmo)
	return memory
}

// delivered are the packets that reach the ring: not those of which the socket
// would see no byte. Their length is the verdict of a socket without a filter,
// and a verdict of 0 drops.
func (c goldenCase) delivered() (some []packet) {
	for _, p := range c.packets {
		if len(c.seen(p)) > 0 {
			some = append(some, p)
		}
	}
	return some
}

// vnetLen is sizeof(struct virtio_net_hdr).
const vnetLen = 10

func (c goldenCase) offsets(p packet) tpacket.Offsets {
	if c.dgram {
		return tpacket.DgramOffsets(c.version, c.reserve)
	}
	vnet := uint32(0)
	if c.vnetHdr {
		vnet = vnetLen
	}
	return tpacket.RawOffsets(c.version, uint32(p.maclen), c.reserve, vnet)
}

// seen is what the socket sees of a packet.
func (c goldenCase) seen(p packet) []byte {
	b := p.data
	if p.untagged { // the tag moves from the packet into the header
		b = slices.Concat(b[:12], b[16:])
	}
	if c.dgram {
		b = b[p.maclen:]
	}
	return b
}

// vlan is what the header says about the packet's tag.
func (c goldenCase) vlan(p packet) (tci, tpid uint16) {
	if !p.untagged && !(p.tagged && c.dgram) || c.version == tpacket.V1 {
		return 0, 0
	}
	return binary.BigEndian.Uint16(p.data[14:]), binary.BigEndian.Uint16(p.data[12:])
}

func (c goldenCase) status(p packet) uint32 {
	s := tpacket.StatusUser | p.status
	if _, tpid := c.vlan(p); tpid != 0 {
		s |= tpacket.StatusVLANValid | tpacket.StatusVLANTPID
	}
	return s
}

func (c goldenCase) sockaddr(p packet) tpacket.SockaddrLL {
	proto := p.protocol
	if p.tagged && c.dgram {
		proto = binary.BigEndian.Uint16(p.data[16:])
	}
	sll := tpacket.SockaddrLL{
		Family: tpacket.AFPacket, Protocol: tpacket.Htons(proto), Ifindex: int32(p.dev.index),
		Hatype: p.dev.hatype, Pkttype: p.pkttype,
	}
	if p.dev.hatype == tpacket.ARPHRDEther {
		sll.Halen = 6
		copy(sll.Addr[:], p.data[6:12])
	}
	return sll
}

// The memory that may differ from one recording to the next: timestamps, and
// which clock they come from (any program on the machine that asks for packet
// timestamps changes that for all).
const clockBits = tpacket.StatusTSSoftware

func scrubFrame(v tpacket.Version, frame []byte) []byte {
	frame = slices.Clone(frame)
	switch v {
	case tpacket.V1:
		h := tpacket.Parse[tpacket.Header1](frame)
		h.Status &^= clockBits
		h.Sec, h.Usec = 0, 0
		copy(frame, tpacket.Bytes(&h))
	case tpacket.V2:
		h := tpacket.Parse[tpacket.Header2](frame)
		h.Status &^= clockBits
		h.Sec, h.Nsec = 0, 0
		copy(frame, tpacket.Bytes(&h))
	}
	return frame
}

func scrubBlock(block []byte) []byte {
	d := tpacket.Parse[tpacket.BlockDesc](block)
	block = slices.Clone(block[:d.BlkLen])
	d.First, d.Last = tpacket.Timestamp{}, tpacket.Timestamp{}
	copy(block, tpacket.Bytes(&d))
	at := d.OffsetToFirstPkt
	for range d.NumPkts {
		h := tpacket.Parse[tpacket.Header3](block[at:])
		h.Status &^= clockBits
		h.Sec, h.Nsec = 0, 0
		copy(block[at:], tpacket.Bytes(&h))
		at += h.NextOffset
	}
	return block
}

func packetsText() string {
	var b strings.Builder
	b.WriteString("# The packets that the golden cases name, as they arrive or leave.\n" +
		"# Lines of zeros are left out.\n")
	for _, p := range packets() {
		fmt.Fprintf(&b, "\n%s, with virtio_net_hdr %x\n%s", p.describe(), p.vnet, dump(p.data))
	}
	return b.String()
}

func (p packet) describe() string {
	way := "arrives at"
	if p.outgoing {
		way = "leaves through"
	}
	return fmt.Sprintf("packet %s, %d bytes, %s %s", p.name, len(p.data), way, p.dev.name)
}

func TestPacketsAreThoseRecorded(t *testing.T) {
	raw, err := os.ReadFile(packetsPath)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(raw), "\r\n", "\n") != packetsText() {
		t.Errorf("the packets are no longer those of %s: record with -update", packetsPath)
	}
}

// A golden file is cases with a blank line between: what was asked, line by
// line, and under "memory" the kernel's answer.

type goldenEntry struct {
	asked  string // everything before the answer
	memory []byte
}

func (c goldenCase) asked() string {
	var b strings.Builder
	r := c.request
	kind := "SOCK_RAW"
	if c.dgram {
		kind = "SOCK_DGRAM"
	}
	fmt.Fprintf(&b, "case %s\n", c.name)
	fmt.Fprintf(&b, "socket %s TPACKET_%s reserve %d vnet_hdr %t copy_thresh %d\n", kind, c.version, c.reserve, c.vnetHdr, c.copyThresh)
	fmt.Fprintf(&b, "request block_size %d block_nr %d frame_size %d frame_nr %d", r.BlockSize, r.BlockNr, r.FrameSize, r.FrameNr)
	if c.version == tpacket.V3 {
		fmt.Fprintf(&b, " retire_blk_tov %d sizeof_priv %d feature_req_word %d", r.RetireBlkTov, r.SizeofPriv, r.FeatureReqWord)
	}
	b.WriteByte('\n')
	for _, p := range c.packets {
		b.WriteString(p.describe() + "\n")
	}
	return b.String()
}

func (e goldenEntry) String() string {
	return fmt.Sprintf("%smemory %d bytes\n%s", e.asked, len(e.memory), dump(e.memory))
}

func readGolden(t *testing.T, path string) map[string]goldenEntry {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	entries := make(map[string]goldenEntry)
	for _, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		part += "\n"
		asked, answer, ok := strings.Cut(part, "memory ")
		if strings.HasPrefix(part, "#") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(asked, "case "), "\n")
		size, bytesText, _ := strings.Cut(answer, " bytes\n")
		n, err := strconv.Atoi(size)
		if !ok || err != nil {
			t.Fatalf("%s: case %q has no memory", path, name)
		}
		memory, err := undump(bytesText, n)
		if err != nil {
			t.Fatalf("%s: case %q: %v", path, name, err)
		}
		entries[name] = goldenEntry{asked, memory}
	}
	return entries
}

// dump is hexdump -C without its right-hand side: a line of 16 bytes behind
// their offset, lines of zeros left out.
func dump(b []byte) string {
	var out strings.Builder
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		if bytes.Count(line, []byte{0}) < len(line) {
			fmt.Fprintf(&out, "  %04x  % x\n", at, line)
		}
	}
	return out.String()
}

func undump(text string, n int) ([]byte, error) {
	b := make([]byte, n)
	for line := range strings.Lines(text) {
		offset, digits, _ := strings.Cut(strings.TrimSpace(line), "  ")
		at, err := strconv.ParseUint(offset, 16, 31)
		if err != nil {
			return nil, err
		}
		data, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			return nil, err
		}
		if int(at)+len(data) > n {
			return nil, fmt.Errorf("line %q is beyond %d bytes", line, n)
		}
		copy(b[at:], data)
	}
	return b, nil
}
