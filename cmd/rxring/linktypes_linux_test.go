package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/onecpu"
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
	path := samplePath(dir, link)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func samplePath(dir string, link uint16) string {
	return filepath.Join(dir, fmt.Sprintf("link%d.pcap", link))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(b)
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

// tcpdumpRead is what tcpdump prints of a file, and what it says beside.
func tcpdumpRead(t *testing.T, path string) (lines, says string) {
	return output(t, "tcpdump", "-n", "-t", "-r", path)
}

// printed reports whether tcpdump can print packets: lines is what it prints of their file.
func printed(lines string) bool { return lines != "" && !strings.Contains(lines, "UNSUPPORTED") }

// device is the name of the device for a sample's file.
func (s linkSample) device() string { return fmt.Sprintf("link%d", s.link) }

// Live, tcpdump prints of a device what it prints of the file. One rxring runs a tcpdump for each
// device; another one a tcpdump of all devices, which alone shows packets of LINUX_SLL2 as such.
func TestTcpdumpLiveOfEveryLinkType(t *testing.T) {
	need.Time(t, "it starts tcpdump twice for each link type")
	need.Program(t, "tcpdump")
	dir := sharedDir(t)
	onecpu.Programs()
	rxring := filepath.Join(dir, "rxring")
	live, devices := []string{"run", "-q"}, []string(nil)
	alone := make(map[uint16][]string) // the command for a link type
	for _, sample := range linkSamples {
		from := "file:" + writeSample(t, dir, sample.link, sample.packets)
		if sample.any {
			alone[sample.link] = []string{"run", "-q", "--from", from, "--", "tcpdump", "-n", "-t", "-i", "any"}
			continue
		}
		live = append(live, "--from", sample.device()+"="+from)
		devices = append(devices, sample.device())
	}
	live = append(live, "--", "sh", "-c", `for device; do tcpdump -n -t -i $device >$0/$device.out 2>$0/$device.err & done; wait`, dir)
	_, allSay := output(t, rxring, append(live, devices...)...)
	for _, sample := range linkSamples {
		t.Run(fmt.Sprint(sample.link), func(t *testing.T) {
			t.Parallel()
			onecpu.Programs()
			want, wantSays := tcpdumpRead(t, samplePath(dir, sample.link))
			var got, says string
			if args := alone[sample.link]; args != nil {
				got, says = output(t, rxring, args...)
			} else {
				got, says = read(t, filepath.Join(dir, sample.device()+".out")), allSay+read(t, filepath.Join(dir, sample.device()+".err"))
			}
			got = strings.TrimSuffix(got, "\n\n") // an interrupt ends the line, too
			want = strings.TrimSuffix(want, "\n")
			got = strings.TrimSuffix(got, "\n")
			switch {
			case !printed(want): // tshark must do
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

// Live, tshark shows of devices what it shows of the files: of link types that tcpdump cannot
// print, and of a few that it can. It starts slowly, so it reads all the files, merged, and all
// the devices at once.
func TestTsharkLiveOfLinkTypes(t *testing.T) {
	need.Time(t, "it starts tshark")
	need.Program(t, "tshark")
	need.Program(t, "mergecap")
	dir := sharedDir(t)
	onecpu.Programs()
	skip := func(sample linkSample, why string) {
		t.Run(fmt.Sprint(sample.link), func(t *testing.T) { need.Skip(t, need.Inapplicable, "%s", why) })
	}
	var samples []linkSample
	var paths []string
	for _, sample := range linkSamples {
		path := writeSample(t, dir, sample.link, sample.packets)
		switch sample.link {
		case 1, 101, 113, 276: // Ethernet, raw IP, both cooked ones
		default:
			if lines, _ := tcpdumpRead(t, path); printed(lines) {
				continue // TestTcpdumpLiveOfEveryLinkType
			}
		}
		if _, says := output(t, "capinfos", path); strings.Contains(says, "unknown or unsupported") {
			skip(sample, "tshark does not read files of this link type")
			continue
		}
		samples, paths = append(samples, sample), append(paths, path)
	}
	merged := filepath.Join(dir, "merged.pcapng")
	if _, says := output(t, "mergecap", append([]string{"-I", "none", "-w", merged}, paths...)...); says != "" {
		t.Fatalf("mergecap: %s", says)
	}
	want, wantSays := tsharkFields(t, "tshark", []string{"-r", merged}, "frame.interface_id")
	live, devices := []string{"run", "-q"}, []string{"--", "tshark"}
	for i, path := range paths {
		if show := want[fmt.Sprint(i)]; !strings.Contains(show, "WTAP_ENCAP") && !strings.Contains(show, "Bogus IP version") {
			live = append(live, "--from", samples[i].device()+"=file:"+path)
			devices = append(devices, "-i", samples[i].device())
		}
	}
	got, says := tsharkFields(t, filepath.Join(dir, "rxring"), append(live, devices...), "frame.interface_name")
	for i, sample := range samples {
		if !slices.Contains(devices, sample.device()) {
			skip(sample, "tshark does not dissect this link type")
			continue
		}
		t.Run(fmt.Sprint(sample.link), func(t *testing.T) {
			want, got := want[fmt.Sprint(i)], got[sample.device()]
			if n := strings.Count(want, "\n"); n != len(sample.packets) {
				t.Fatalf("tshark -r reads %d packets: %q: %s", n, want, wantSays)
			}
			if want = pflogInfo.ReplaceAllString(want, ""); got != want {
				t.Errorf("live %q, of the file %q\n%s", got, want, says)
			}
		})
	}
}

// tsharkFields returns what a command that ends with tshark shows of packets, a line each, by interface.
func tsharkFields(t *testing.T, name string, args []string, iface string) (lines map[string]string, says string) {
	args = append(args, "-n", "-T", "fields", "-e", iface)
	for _, column := range []string{"Source", "Destination", "Protocol", "Info"} {
		args = append(args, "-e", "_ws.col."+column)
	}
	out, says := output(t, name, args...)
	lines = make(map[string]string)
	for line := range strings.Lines(out) {
		of, fields, _ := strings.Cut(line, "\t")
		lines[of] += fields
	}
	return lines, says
}

// pflogInfo is what tshark prints of a PFLOG header, which readers do not get.
var pflogInfo = regexp.MustCompile(`\[pass em0/0\] `)

// cookedPrefix is what tcpdump prints of a LINUX_SLL2 header.
var cookedPrefix = regexp.MustCompile(`(?m)^\S+ +(In|Out|B|M|P) +`)

// What dump writes of a device, tcpdump prints as it prints the file that fed the
// device; of packets without a link-layer header with a cooked one. One dump prints a line of
// each packet of all devices but that of LINUX_SLL2, whose packets have names of their own.
func TestDumpOfEveryLinkType(t *testing.T) {
	need.Time(t, "it starts tcpdump twice for each link type")
	need.Program(t, "tcpdump")
	dir := sharedDir(t)
	onecpu.Programs()
	rxring := filepath.Join(dir, "rxring")
	all := []string{"dump", "-q", "-i", "any"}
	for _, sample := range linkSamples {
		path := writeSample(t, dir, sample.link, sample.packets)
		if !sample.any {
			all = append(all, "--from", sample.device()+"=file:"+path)
		}
	}
	lines, linesSay := output(t, rxring, all...)
	for _, sample := range linkSamples {
		t.Run(fmt.Sprint(sample.link), func(t *testing.T) {
			t.Parallel()
			onecpu.Programs()
			path := samplePath(dir, sample.link)
			lines, linesSay, mark := lines, linesSay, " "+sample.device()+" "
			if sample.any {
				lines, linesSay = output(t, rxring, "dump", "-q", "--from", "file:"+path)
				mark = "\n"
			}
			if n := strings.Count(lines, mark); n != len(sample.packets) || strings.Contains(lines, "malformed") {
				t.Errorf("%d lines, of:\n%s%s", n, lines, linesSay)
			}
			written := strings.TrimSuffix(path, ".pcap") + ".pcapng"
			_, says := output(t, rxring, "dump", "-q", "--from", "file:"+path, "-w", written)
			want, _ := tcpdumpRead(t, path)
			got, wrong := tcpdumpRead(t, written)
			if !printed(want) {
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
