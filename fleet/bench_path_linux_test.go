package fleet_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/pipe"
	"github.com/rxring/rxring/source/file/tap"
)

// BenchmarkPath measures packets from a device of one process to a handle in another, over
// loopback: through a hub in a third process, through a plain stream of pcapng over TCP, and
// through ssh. It reports the CPU time of each process for a packet: send-ns of the host, with
// the delivery of the packet to its device; between-ns of the hub, or of ssh and sshd; read-ns of
// this process, with a goroutine that reads the packets.
//
//	go test -run '^$' -bench Path -benchtime 1000000x
func BenchmarkPath(b *testing.B) {
	for _, p := range []struct {
		name string
		open func(b *testing.B, size int) *path
	}{
		{"fleet-none", throughFleet(fleet.None)},
		{"fleet-auto", throughFleet(fleet.Auto)},
		{"fleet-s2", throughFleet(fleet.S2)},
		{"fleet-zstd", throughFleet(fleet.Zstd)},
		{"TCP", throughTCP},
		{"ssh", throughSSH},
	} {
		for _, size := range []int{64, 1500} {
			b.Run(fmt.Sprintf("%s/%dB", p.name, size), func(b *testing.B) { p.open(b, size).measure(b) })
		}
	}
}

// path is a way from a sender, a process that runs sendRole, to a device here.
type path struct {
	size    int
	dev     *rxring.Device
	sender  int       // its PID
	credit  io.Writer // its standard input
	between []int     // PIDs of processes that are neither; their descendants count, too
	reader  *reading  // nil: none
}

const (
	inFlight    = 1 << 14 // packets, so that no ring is ever full
	creditEvery = inFlight / 4
	benchBuffer = 64 << 20
)

func (p *path) measure(b *testing.B) {
	h := open(b, p.dev, capture.Config{Buffer: benchBuffer})
	if p.reader != nil {
		eventually(b, "a session", func() bool { return p.reader.Counts().Sessions > 0 })
	}
	left := b.N
	credit := func(n int) {
		if n = min(n, left); n > 0 {
			left -= n
			fmt.Fprintln(p.credit, n)
		}
	}
	send, between, read, start := p.cpuOf(p.sender), p.cpuBetween(), cpuTime(b), time.Now()
	credit(inFlight)
	for n := range b.N {
		if n%creditEvery == 0 {
			h.SetDeadline(time.Now().Add(time.Minute))
		}
		q, err := h.Next(b.Context())
		if err != nil {
			b.Fatalf("packet %d of %d: %v: %v", n, b.N, err, p.lost())
		}
		if q.Len != p.size {
			b.Fatalf("packet %d has %d bytes, want %d", n, q.Len, p.size)
		}
		if (n+1)%creditEvery == 0 {
			credit(creditEvery)
		}
	}
	n := float64(b.N)
	b.ReportMetric(n/time.Since(start).Seconds()/1e6, "Mpkt/s")
	b.ReportMetric(float64(cpuTime(b)-read)/n, "read-ns")
	b.ReportMetric(float64(p.cpuBetween()-between)/n, "between-ns")
	b.ReportMetric(float64(p.cpuOf(p.sender)-send)/n, "send-ns")
	if st, err := h.Stats(); err != nil || st.Drops > 0 {
		b.Fatalf("%+v, %v", st, err)
	}
}

// lost says where packets were lost.
func (p *path) lost() string {
	if p.reader == nil {
		return ""
	}
	return fmt.Sprintf("%+v %q", p.reader.Counts(), p.reader.failed)
}

// cpuTime is the CPU time of this process, in user space and in the kernel.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf is the CPU time of another process, in steps of 10 ms.
func (p *path) cpuOf(pid int) time.Duration {
	_, ticks := processStat(pid)
	return ticks * 10 * time.Millisecond
}

// cpuBetween is the CPU time of the processes that neither send nor read.
func (p *path) cpuBetween() (sum time.Duration) {
	parents := make(map[int]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			parents[pid], _ = processStat(pid)
		}
	}
	for pid := range parents {
		if pid == p.sender {
			continue
		}
		for up := pid; up > 1; up = parents[up] {
			if slices.Contains(p.between, up) {
				sum += p.cpuOf(pid)
				break
			}
		}
	}
	return sum
}

// processStat returns a process's parent, and its utime and stime in clock ticks, of
// /proc/PID/stat; zero if it has ended.
func processStat(pid int) (parent int, ticks time.Duration) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(f[1])
	for _, field := range f[11:13] {
		n, _ := strconv.Atoi(field)
		ticks += time.Duration(n)
	}
	return parent, ticks
}

func init() { roles["send"] = sendRole }

// sendRole delivers packets to a device that it ships to a hub, or writes as pcapng to a TCP
// address or to its standard output, as its arguments say. Each line of its standard input is a
// number of packets.
func sendRole() error {
	var to, address string
	var size int
	fmt.Sscan(os.Getenv(argVariable), &size, &to, &address)
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	far, err := ns.AddDevice(eth0)
	if err != nil {
		return err
	}
	switch to {
	case "hub":
		nc, err := fleet.Dial(address)
		if err != nil {
			return err
		}
		if _, err := fleet.Ship(nc, ns, fleet.ShipConfig{Host: "web-1", Buffer: benchBuffer}); err != nil {
			return err
		}
		fmt.Println("ready")
	case "tcp":
		out, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		if err := startStream(far, out); err != nil {
			return err
		}
		fmt.Println("ready")
	case "stdout":
		if err := startStream(far, os.Stdout); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "PID", os.Getpid())
	default:
		return fmt.Errorf("to %q: want hub, tcp or stdout", to)
	}
	var packets [32]rxring.Packet
	for i := range packets {
		packets[i].Data = benchFrame(i, size)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			return err
		}
		for ; n > 0; n -= len(packets) {
			far.DeliverBatch(packets[:min(n, len(packets))])
		}
	}
	return nil
}

// benchFrame is a frame of which half does not compress.
func benchFrame(n, size int) []byte {
	f := frame(n)[:14]
	seed := uint32(n) + 1
	for len(f) < size {
		if len(f)%2 == 0 {
			seed = seed*1664525 + 1013904223
		}
		f = append(f, byte(seed>>24))
	}
	return f
}

// startStream writes a device's packets as pcapng, as rxring dump -w - does.
func startStream(far *rxring.Device, out io.Writer) error {
	t, err := tap.Open(far, tap.Config{Promiscuous: true, Buffer: benchBuffer, Retire: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	w, err := capfile.NewWriter(out, capfile.Section{})
	if err != nil {
		return err
	}
	if _, err := w.AddInterface(capfile.Interface{Name: "eth0", LinkType: t.LinkType()}); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	go func() {
		for {
			if !t.Ready() && w.Flush() != nil {
				return
			}
			p, ok, err := t.Next(context.Background())
			if err == nil && ok {
				err = w.WriteCommented(0, p.Timestamp, p.Len, p.Data, p.Direction, p.Comment)
			}
			if err != nil {
				return
			}
		}
	}()
	return nil
}

func throughFleet(c fleet.Compression) func(b *testing.B, size int) *path {
	return func(b *testing.B, size int) *path {
		hub, url := startHubProcess(b)
		sender, _ := startParty(b, "send", fmt.Sprint(size, " hub ", url))
		r := read(b, dial(b, url), fleet.ReaderConfig{Compress: c})
		return &path{size: size, dev: r.dev, sender: sender.cmd.Process.Pid, credit: sender.in, between: []int{hub.cmd.Process.Pid}, reader: r}
	}
}

// throughTCP is what rxring dump -w tcp: and run --from pcap:tcp: do.
func throughTCP(b *testing.B, size int) *path {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	sender, _ := startParty(b, "send", fmt.Sprint(size, " tcp ", l.Addr()))
	in, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return &path{size: size, dev: streamDevice(b, in), sender: sender.cmd.Process.Pid, credit: sender.in}
}

// streamDevice returns a device that has the packets of a stream.
func streamDevice(b *testing.B, in io.ReadCloser) *rxring.Device {
	stream, err := pipe.Open(b.Context(), in)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stream.Close() })
	src, err := stream.Add(pipe.Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
	if err == nil {
		err = src.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	return src.Devices()[0]
}

// throughSSH is what run --from 'exec:ssh HOST rxring dump -w -' does. ssh starts an sshd of its
// own, which has no port.
func throughSSH(b *testing.B, size int) *path {
	need.Program(b, "ssh", "ssh-keygen", "sshd")
	need.Root(b, "sshd changes its root directory")
	sshd, err := exec.LookPath("sshd") // it wants an absolute path
	if err == nil {
		err = os.MkdirAll("/run/sshd", 0o755)
	}
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	host, user := filepath.Join(dir, "host"), filepath.Join(dir, "user")
	for _, key := range []string{host, user} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
			b.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	proxy := fmt.Sprintf("%s -i -f /dev/null -o HostKey=%s -o AuthorizedKeysFile=%s.pub -o StrictModes=no -o UsePAM=no -o PermitRootLogin=yes", sshd, host, user)
	ssh := exec.Command("ssh", "-F", "none", "-i", user, "-o", "ProxyCommand="+proxy, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@here",
		fmt.Sprintf("%s=send %s='%d stdout' exec /proc/%d/exe", roleVariable, argVariable, size, os.Getpid()))
	credit, err := ssh.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	in, err := ssh.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	said, err := ssh.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := ssh.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		credit.Close() // the sender ends, and so ssh does
		ssh.Wait()
	})
	p := &path{size: size, credit: credit, between: []int{ssh.Process.Pid}}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		b.Fatalf("ssh: %v", err)
	} else if _, err := fmt.Sscanf(line, "PID %d", &p.sender); err != nil {
		b.Fatalf("ssh: %q", line)
	}
	p.dev = streamDevice(b, in)
	return p
}
