//go:build !nolibpcap && (darwin || linux) && (amd64 || arm64)

package pcapfilter

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
)

const (
	ethernet = 1
	raw      = 101
	sll      = 113
	sll2     = 276
)

// expressions for Ethernet; those of network and transport layers are for all.
var (
	network = []string{
		"", "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "sctp", "tcp port 80", "udp port 53", "port 53", "src port 1000",
		"tcp dst port 443 and not host 192.0.2.7", "portrange 1000-2000", "udp dst portrange 1000-2000",
		"host 192.0.2.1", "src host 192.0.2.1 and dst host 192.0.2.2", "net 192.0.2.0/24", "src net 2001:db8::/32",
		"host 2001:db8::1 and tcp", "greater 60000", "less 100", "len > 60 and len <= 1500", "proto 47", "ip proto 50",
		"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] = 2", "ip[6:2] & 0x1fff = 0", "ip[8] < 5", "ip6[6] == 17",
		"(tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420)", "icmp[icmptype] = icmp-echo", "ip multicast", "ip6 multicast",
		"tcp or udp or icmp", "not (tcp and port 22)", "tcp port 80 or 443 or 8080",
		"ip[2:2] - ((ip[0] & 0xf) << 2) > 100", "udp[4:2] % 2 = 1", "inbound", "outbound and tcp",
		"host 192.0.2.1 or 192.0.2.2 or 192.0.2.3 or 192.0.2.4 and tcp portrange 1-1023",
	}
	link = []string{
		"arp", "rarp", "ether host 02:00:00:00:00:01", "ether src 02:00:00:00:00:01", "ether broadcast", "ether multicast",
		"ether proto 0x88b5", "vlan", "vlan 5", "vlan 5 and tcp port 80", "vlan 5 and vlan 6 and udp", "mpls", "mpls 1000 and ip",
		"pppoes", "pppoes 0x27 and ip", "ether[0] & 1 = 0 and ip[16] >= 224", "geneve", "stp", "isis", "llc", "ifindex 3",
		"arp host 192.0.2.9", "not arp and not broadcast", "multicast",
	}
)

// TestSameAsTcpdump compares every program with the output of tcpdump -ddd.
func TestSameAsTcpdump(t *testing.T) {
	need.Time(t, "it runs tcpdump many times")
	need.Program(t, "tcpdump")
	for _, of := range []struct {
		name     string
		linktype int
		exprs    []string
	}{
		{"EN10MB", ethernet, slices.Concat(network, link)},
		{"RAW", raw, network},
		{"LINUX_SLL", sll, network},
		{"LINUX_SLL2", sll2, network},
	} {
		for _, expr := range of.exprs {
			for _, snaplen := range []int{0, 96} {
				out, err := exec.Command("tcpdump", "-ddd", "-s", strconv.Itoa(snaplen), "-y", of.name, expr).Output()
				if err != nil {
					t.Errorf("tcpdump -y %s %q: %v", of.name, expr, err)
					continue
				}
				got, err := Compile(expr, of.linktype, snaplen)
				if err != nil {
					t.Error(err)
					continue
				}
				if text := ddd(got); text != string(out) {
					t.Errorf("%s %q, snaplen %d:\n%swant\n%s", of.name, expr, snaplen, text, out)
				}
			}
		}
	}
}

func ddd(prog []cbpf.Instruction) string {
	s := fmt.Sprintln(len(prog))
	for _, in := range prog {
		s += fmt.Sprintln(in.Op, in.Jt, in.Jf, in.K)
	}
	return s
}

func TestWhatLibpcapRefuses(t *testing.T) {
	needLibpcap(t)
	for expr, want := range map[string]string{
		"tcp prot 80":     `filter "tcp prot 80": can't parse filter expression: syntax error`,
		"port 70000":      "70000",
		"ether host 1.2":  "",
		"ip broadcast":    "netmask not known",
		"tcp and ip6 or":  "syntax error",
		"ip protochain 6": "a program that Linux refuses: classic BPF instruction",
		"port http\x00":   "want no zero byte in it",
		"host 192.0.2.7/": "",
	} {
		prog, err := Compile(expr, ethernet, 0)
		if prog != nil || !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", expr, prog, err, want)
		}
	}
	if _, err := Compile("vlan", raw, 0); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "vlan") {
		t.Errorf("vlan of raw IP: %v", err)
	}
	for _, snaplen := range []int{-1, maxSnaplen + 1} {
		if _, err := Compile("ip", ethernet, snaplen); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "want 1 to 262144") {
			t.Errorf("snaplen %d: %v", snaplen, err)
		}
	}
	if _, err := Compile("ip", 9999, 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("an unknown link type: %v", err)
	}
}

// needLibpcap skips the test without libpcap.
func needLibpcap(t *testing.T) {
	t.Helper()
	if _, err := Compile("ip", ethernet, 0); errors.Is(err, errors.ErrUnsupported) {
		need.Skip(t, need.Programs, "%v", err)
	}
}

// forget resets the package to the state before libpcap is loaded.
func forget(t *testing.T) {
	mu.Lock()
	before := loaded
	loaded = nil
	mu.Unlock()
	t.Cleanup(func() {
		mu.Lock()
		loaded = before
		mu.Unlock()
	})
}

func TestMissingLibrary(t *testing.T) {
	forget(t)
	bad := filepath.Join(t.TempDir(), "libpcap.so")
	if err := os.WriteFile(bad, []byte("no library at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	// A missing file, one that is no library, and a library without the functions.
	_, err := compile([]string{"libpcap-that-is-not-there.so", bad, "libc.so.6"}, "tcp", ethernet, 0)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	for _, want := range []string{`filter "tcp": `, "libpcap-that-is-not-there.so", bad, "apt-get install libpcap0.8", "pcap_"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %q", err)
	}
	if loaded != nil {
		t.Error("loaded")
	}
}

func TestConcurrently(t *testing.T) {
	needLibpcap(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i, expr := range slices.Concat(network, link) {
				good, err := Compile(expr, ethernet, 0)
				if err != nil || len(good) == 0 {
					t.Error(expr, err)
				}
				if _, err := Compile(fmt.Sprintf("bad %d", i), ethernet, 0); err == nil || !strings.Contains(err.Error(), "syntax error") {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
