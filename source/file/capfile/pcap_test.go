package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

// pcapVariant is one of the forms that a pcap file may have.
type pcapVariant struct {
	order        binary.AppendByteOrder
	magic        uint32
	major, minor uint16
}

func (v pcapVariant) String() string {
	return fmt.Sprintf("%v %#x version %d.%d", v.order, v.magic, v.major, v.minor)
}

func pcapVariants() (all []pcapVariant) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, magic := range []uint32{pcapMicro, pcapNano, pcapModified} {
			for minor := range uint16(pcapMinor + 1) {
				all = append(all, pcapVariant{order, magic, pcapMajor, minor})
			}
			all = append(all, pcapVariant{order, magic, pcapMajorDGUX, 0})
		}
	}
	return all
}

// record is one of a file: first and second are its two lengths, in the file's order.
type record struct {
	sec, fraction, first, second uint32
	data                         []byte
}

func (v pcapVariant) file(link uint32, records ...record) []byte {
	b := v.order.AppendUint32(nil, v.magic)
	b = v.order.AppendUint16(b, v.major)
	b = v.order.AppendUint16(b, v.minor)
	b = append(b, make([]byte, 8)...)
	b = v.order.AppendUint32(b, 262144)
	b = v.order.AppendUint32(b, link)
	for _, r := range records {
		for _, n := range []uint32{r.sec, r.fraction, r.first, r.second} {
			b = v.order.AppendUint32(b, n)
		}
		if v.magic == pcapModified {
			b = append(b, 1, 0, 0, 0, 8, 0, 0, 0) // interface, protocol, packet type, padding
		}
		b = append(b, r.data...)
	}
	return b
}

// Every form of the format gives the packets that tcpdump -r gives, byte for byte:
// also records whose first length is above the second, which in version 2.4 are
// packets that are longer than they were.
func TestPcapFilesAreReadAsTcpdumpReadsThem(t *testing.T) {
	need.Time(t, "it runs tcpdump for each file")
	need.Program(t, "tcpdump")
	random := rand.New(rand.NewPCG(1, 2))
	for _, v := range pcapVariants() {
		t.Run(v.String(), func(t *testing.T) {
			var records []record
			for i := range 20 {
				kept := uint32(60 + random.IntN(100))
				second := kept + uint32(random.IntN(3))*50
				if random.IntN(4) == 0 {
					second = kept - uint32(random.IntN(20))
				}
				r := record{sec: uint32(i), fraction: uint32(random.IntN(1e6)), first: kept, second: second}
				switch {
				case v.minor < pcapOldLengths || v.major == pcapMajorDGUX, // the second is what was kept
					v.minor == pcapOldLengths && kept > second:
					kept = second
				}
				r.data = frame(i, int(kept))
				records = append(records, r)
			}
			file := v.file(uint32(LinkEthernet)|0x24000000, records...) // and "frames end in an FCS of 4 bytes"
			compareWithTcpdump(t, file, 20)
			compareWithTcpdump(t, file[:len(file)-7], 19)
		})
	}
}

// compareWithTcpdump reads the file, of which tcpdump can read want packets.
func compareWithTcpdump(t *testing.T, file []byte, want int) {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.pcap"), filepath.Join(dir, "out.pcap")
	if err := os.WriteFile(in, file, 0o600); err != nil {
		t.Fatal(err)
	}
	said, _ := exec.Command("tcpdump", "-r", in, "--time-stamp-precision=nano", "-w", out).CombinedOutput() // a cut file is an error
	truth, _ := readFile(t, out)
	if len(truth) != want {
		t.Fatalf("tcpdump reads %d packets, want %d: %s", len(truth), want, said)
	}
	got, ins, err := readAll(bytes.NewReader(file))
	if cut := errors.Is(err, ErrTruncated); err != nil && !cut || cut != strings.Contains(string(said), "truncated") {
		t.Errorf("error %v; tcpdump said: %s", err, said)
	}
	if len(got) != len(truth) || ins[0].LinkType != LinkEthernet {
		t.Fatalf("%d packets of %v, tcpdump reads %d", len(got), ins, len(truth))
	}
	for i := range got {
		if !bytes.Equal(got[i].Data, truth[i].Data) || got[i].Timestamp != truth[i].Timestamp || got[i].Len != truth[i].Len {
			t.Errorf("packet %d: %d of %d bytes at %d, tcpdump: %d of %d at %d", i, len(got[i].Data), got[i].Len, got[i].Timestamp,
				len(truth[i].Data), truth[i].Len, truth[i].Timestamp)
		}
	}
}

func TestPcapHeadersThatCannotBe(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		v    pcapVariant
		link uint32
		want string
	}{
		{pcapVariant{le, pcapMicro, 2, 5}, 1, "file header: pcap version 2.5: want 2.0 to 2.4, or 543.0"},
		{pcapVariant{le, pcapMicro, 1, 2}, 1, "pcap version 1.2"},
		{pcapVariant{le, pcapMicro, 543, 1}, 1, "pcap version 543.1"},
		{pcapVariant{le, pcapMicro, 2, 4}, 0x10000, "file header: link type 65536: want at most 65535"},
		{pcapVariant{le, 0xa1b234cd, 2, 4}, 1, "neither pcap nor pcapng: begins with bytes cd 34 b2 a1"}, // libpcap knows the number, but not the format
	} {
		_, _, err := readAll(bytes.NewReader(c.v.file(c.link)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %s", c.v, err, c.want)
		}
	}
}

// What is wrong in options costs no packet: libpcap does not read those of packets.
func TestErrorsInOptionsLoseNoPacket(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		tooLong := order.AppendUint32(order.AppendUint16(order.AppendUint16(nil, 2), 9), 0) // 9 bytes, of which 4 are there
		b := ng(order).iface(LinkEthernet, 0, append(ng(order).option(nil, optName, []byte("eth0")...), tooLong...))
		b.packet(0, 1, frame(1, 60), append(b.flags(2), tooLong...))
		b.packet(0, 2, frame(2, 60), tooLong)
		b.packet(0, 3, frame(3, 60), tooLong[:4])
		file := b.Bytes()
		ps, ins, err := readAll(bytes.NewReader(file))
		if err != nil || len(ps) != 3 || ins[0].Name != "eth0" || ps[0].Direction != Outbound || ps[1].Direction != DirectionUnknown {
			t.Errorf("%v: %d packets of %v, error %v", order, len(ps), ins, err)
		}
	}
}
