package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

// writeSample writes a pcap file, one packet each millisecond.
func writeSample(t *testing.T, dir string, link uint16, packets [][]byte) string {
	t.Helper()
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint32(b, 2|4<<16)
	b = le.AppendUint32(append(b, make([]byte, 8)...), 262144)
	b = le.AppendUint32(b, uint32(link))
	for i, p := range packets {
		for _, n := range []int{1_700_000_000, i * 1000, len(p), len(p)} {
			b = le.AppendUint32(b, uint32(n))
		}
		b = append(b, p...)
	}
	path := filepath.Join(dir, fmt.Sprintf("link%d.pcap", link))
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// output is what a program prints on standard output; other is what it says beside.
func output(t *testing.T, name string, args ...string) (lines, other string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &err, time.Minute
	cmd.Run() // a program that cannot print a link type fails
	return out.String(), err.String()
}

// Live, tcpdump prints of a device what it prints of the file.
func TestTcpdumpLiveOfEveryLinkType(t *testing.T) {
	need.Time(t, "it starts tcpdump twice for each link type")
	need.Program(t, "tcpdump")
	dir := sharedDir(t)
	rxring := filepath.Join(dir, "rxring")
	for _, sample := range linkSamples {
		t.Run(fmt.Sprint(sample.link), func(t *testing.T) {
			t.Parallel()
			path := writeSample(t, dir, sample.link, sample.packets)
			want, wantSays := output(t, "tcpdump", "-n", "-t", "-r", path)
			args := []string{"run", "-q", "--from", "file:" + path, "--", "tcpdump", "-n", "-t"}
			if sample.any {
				args = append(args, "-i", "any")
			}
			got, says := output(t, rxring, args...)
			got = strings.TrimSuffix(got, "\n\n") // an interrupt ends the line, too
			want = strings.TrimSuffix(want, "\n")
			got = strings.TrimSuffix(got, "\n")
			switch {
			case want == "", strings.Contains(want, "UNSUPPORTED"): // tshark must do
				refused := strings.Contains(wantSays, "unknown data link type") || strings.Contains(wantSays, "printing is not supported")
				if got == "" && !refused {
					t.Errorf("tcpdump -r says: %s\nand live: %s%s", wantSays, got, says)
				}
				return
			case sample.lost != nil:
				want = sample.lost.ReplaceAllString(want, "")
			}
			if got != want {
				t.Errorf("live:\n%sof the file:\n%s%s%s", got, want, says, wantSays)
			}
		})
	}
}

// Live, tshark shows of a device what it shows of the file: of link types that tcpdump
// cannot print, and of a few that it can.
func TestTsharkLiveOfLinkTypes(t *testing.T) {
	need.Time(t, "it starts tshark twice for each link type")
	need.Program(t, "tshark")
	dir := sharedDir(t)
	rxring := filepath.Join(dir, "rxring")
	fields := []string{"-n", "-T", "fields"}
	for _, column := range []string{"Source", "Destination", "Protocol", "Info"} {
		fields = append(fields, "-e", "_ws.col."+column)
	}
	for _, sample := range linkSamples {
		t.Run(fmt.Sprint(sample.link), func(t *testing.T) {
			t.Parallel()
			path := writeSample(t, dir, sample.link, sample.packets)
			switch sample.link {
			case 1, 101, 113, 276: // Ethernet, raw IP, both cooked ones
			default:
				if want, _ := output(t, "tcpdump", "-n", "-t", "-r", path); want != "" && !strings.Contains(want, "UNSUPPORTED") {
					return // TestTcpdumpLiveOfEveryLinkType
				}
			}
			want, wantSays := output(t, "tshark", append([]string{"-r", path}, fields...)...)
			if strings.Contains(wantSays, "unknown or unsupported") {
				t.Log(wantSays)
				need.Skip(t, need.Inapplicable, "tshark does not read files of this link type")
			}
			if n := strings.Count(want, "\n"); n != len(sample.packets) {
				t.Fatalf("tshark -r reads %d packets: %q: %s", n, want, wantSays)
			}
			if strings.Contains(want, "WTAP_ENCAP") || strings.Contains(want, "Bogus IP version") {
				t.Log(want)
				need.Skip(t, need.Inapplicable, "tshark does not dissect this link type")
			}
			want = pflogInfo.ReplaceAllString(want, "")
			live := append([]string{"run", "-q", "--from", "net0=file:" + path, "--", "tshark", "-i", "net0"}, fields...)
			if got, says := output(t, rxring, live...); got != want {
				t.Errorf("live %q, of the file %q\n%s", got, want, says)
			}
		})
	}
}

// pflogInfo is what tshark prints of a PFLOG header, which readers do not get.
var pflogInfo = regexp.MustCompile(`\[pass em0/0\] `)

// cookedPrefix is what tcpdump prints of a LINUX_SLL2 header.
var cookedPrefix = regexp.MustCompile(`(?m)^\S+ +(In|Out|B|M|P) +`)

// What dump writes of a device, tcpdump prints as it prints the file that fed the
// device; of packets without a link-layer header with a cooked one.
func TestDumpOfEveryLinkType(t *testing.T) {
	need.Time(t, "it starts tcpdump twice for each link type")
	need.Program(t, "tcpdump")
	dir := sharedDir(t)
	rxring := filepath.Join(dir, "rxring")
	for _, sample := range linkSamples {
		t.Run(fmt.Sprint(sample.link), func(t *testing.T) {
			t.Parallel()
			path := writeSample(t, dir, sample.link, sample.packets)
			lines, says := output(t, rxring, "dump", "-q", "--from", "file:"+path)
			if strings.Count(lines, "\n") != len(sample.packets) || strings.Contains(lines, "malformed") {
				t.Errorf("lines:\n%s%s", lines, says)
			}
			written := strings.TrimSuffix(path, ".pcap") + ".pcapng"
			_, says = output(t, rxring, "dump", "-q", "--from", "file:"+path, "-w", written)
			want, _ := output(t, "tcpdump", "-n", "-t", "-r", path)
			got, wrong := output(t, "tcpdump", "-n", "-t", "-r", written)
			if want == "" || strings.Contains(want, "UNSUPPORTED") {
				return
			}
			if sample.lost != nil {
				want = sample.lost.ReplaceAllString(want, "")
			}
			got, want = cookedPrefix.ReplaceAllString(got, ""), cookedPrefix.ReplaceAllString(want, "")
			if got != want {
				t.Errorf("written:\n%sof the file:\n%s%s%s", got, want, says, wrong)
			}
		})
	}
}
