package fleet_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/pipe"
	"github.com/rxring/rxring/source/file/tap"
)

// The benchmarks do everything in one process, over loopback: deliver to a device, read its ring,
// encode, send, receive, decode, deliver to a device here, and read that one's ring. Their
// figures are the process's whole CPU time.
//
//	go test -run '^$' -bench . -benchtime 1000000x

// cpuTime is the CPU time of this process, in user space and in the kernel.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// path is a way from a device there to a handle here.
type path func(b *testing.B, far *rxring.Device) *capture.Handle

// BenchmarkPath compares a fleet with a plain stream of pcapng over TCP.
func BenchmarkPath(b *testing.B) {
	for _, p := range []struct {
		name string
		path path
	}{
		{"fleet-none", throughFleet(fleet.None)},
		{"fleet-auto", throughFleet(fleet.Auto)},
		{"fleet-s2", throughFleet(fleet.S2)},
		{"fleet-zstd", throughFleet(fleet.Zstd)},
		{"TCP", throughTCP},
	} {
		for _, size := range []int{64, 1500} {
			b.Run(fmt.Sprintf("%s/%dB", p.name, size), func(b *testing.B) { benchmarkPath(b, p.path, size) })
		}
	}
}

func benchmarkPath(b *testing.B, through path, size int) {
	far := newDevice(b, eth0)
	h := through(b, far)
	eventually(b, "the device there is captured", far.HasListeners)
	const inFlight, each = 1 << 14, 32 // so that no ring is ever full
	var packets [each]rxring.Packet
	for i := range packets {
		packets[i].Data = benchFrame(i, size)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	room := make(chan struct{}, inFlight/each)
	before, start := cpuTime(b), time.Now()
	go func() {
		for sent := 0; sent < b.N; sent += each {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return
			}
			far.DeliverBatch(packets[:min(each, b.N-sent)])
		}
	}()
	for n := range b.N {
		if _, err := h.Next(ctx); err != nil {
			b.Fatalf("packet %d of %d: %v", n, b.N, err)
		}
		if n%each == 0 {
			<-room
		}
	}
	took, cpu := time.Since(start), cpuTime(b)-before
	if st, err := h.Stats(); err != nil || st.Drops > 0 {
		b.Fatalf("%+v, %v", st, err)
	}
	b.ReportMetric(float64(b.N)/took.Seconds()/1e6, "Mpkt/s")
	b.ReportMetric(float64(b.N)/cpu.Seconds()/1e6, "Mpkt/CPU-s")
	b.ReportMetric(float64(b.N)*float64(size)*8/cpu.Seconds()/1e9, "Gbit/CPU-s")
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

const benchBuffer = 64 << 20

func throughFleet(c fleet.Compression) path {
	return func(b *testing.B, far *rxring.Device) *capture.Handle {
		h := startHub(b, "127.0.0.1:0")
		ship(b, dial(b, h.URL()), far, fleet.ShipConfig{Host: "web-1", Buffer: benchBuffer})
		r := read(b, dial(b, h.URL()), fleet.ReaderConfig{Compress: c})
		return open(b, r.dev, capture.Config{Buffer: benchBuffer})
	}
}

// throughTCP is what rxring dump -w tcp: and run --from pcap:tcp: do.
func throughTCP(b *testing.B, far *rxring.Device) *capture.Handle {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	in, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	out, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	t, err := tap.Open(far, tap.Config{Promiscuous: true, Buffer: benchBuffer, Retire: 10 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { writeStream(ctx, t, out) })
	b.Cleanup(func() {
		cancel()
		out.Close()
		wg.Wait()
		t.Close()
	})
	stream, err := pipe.Open(b.Context(), in)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stream.Close() })
	src, err := stream.Add(pipe.Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
	if err != nil {
		b.Fatal(err)
	}
	h := open(b, src.Devices()[0], capture.Config{Buffer: benchBuffer})
	if err := src.Start(); err != nil {
		b.Fatal(err)
	}
	return h
}

// writeStream writes a device's packets as pcapng.
func writeStream(ctx context.Context, t *tap.Tap, out net.Conn) {
	buffer := bufio.NewWriterSize(out, 256<<10)
	w, err := capfile.NewWriter(buffer, capfile.Section{})
	if err != nil {
		return
	}
	w.AddInterface(capfile.Interface{Name: "eth0", LinkType: t.LinkType()})
	w.Flush()
	buffer.Flush()
	for ctx.Err() == nil {
		t.SetDeadline(time.Now().Add(40 * time.Millisecond))
		for n := 0; n < 10000; n++ {
			p, ok, err := t.Next(ctx)
			if err != nil {
				break
			}
			if ok && w.WriteCommented(0, p.Timestamp, p.Len, p.Data, p.Direction, p.Comment) != nil {
				return
			}
		}
		w.Flush()
		buffer.Flush()
	}
}

// TestHubProcess is no test: BenchmarkHosts runs it as a process of its own.
func TestHubProcess(t *testing.T) {
	if os.Getenv("FLEET_HUB_PROCESS") == "" {
		return
	}
	h, err := hub.Start(hub.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(h.URL())
	bufio.NewReader(os.Stdin).ReadByte() // until the parent ends
	h.Close()
}

// startHubProcess returns the URL of a hub in another process, and its resident memory.
func startHubProcess(b *testing.B) (url string, memory func() int) {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHubProcess$")
	cmd.Env = append(os.Environ(), "FLEET_HUB_PROCESS=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line), func() int { return residentMemory(b, cmd.Process.Pid) }
}

// residentMemory is VmRSS of a process, in bytes.
func residentMemory(b *testing.B, pid int) (kib int) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib << 10
}

// BenchmarkHosts discovers hosts that ship nothing: an operation is one discovery. It reports the
// hub's memory and the CPU time of an idle shipper, too.
func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			url, memory := startHubProcess(b)
			nc := dial(b, url)
			empty := memory()
			for i := range n {
				ship(b, dial(b, url), newDevice(b, eth0), fleet.ShipConfig{Host: fmt.Sprintf("h%d", i), Lease: 15 * time.Second})
			}
			const idle = 5 * time.Second
			time.Sleep(time.Second)
			before := cpuTime(b)
			time.Sleep(idle)
			cpu := cpuTime(b) - before
			used := memory() - empty
			for b.Loop() {
				hosts, err := fleet.Discover(b.Context(), nc, fleet.Query{})
				if err != nil || len(hosts) != n {
					b.Fatalf("%d hosts, %v", len(hosts), err)
				}
			}
			b.ReportMetric(float64(used)/float64(n)/1024, "hub-KiB/host")
			b.ReportMetric(float64(cpu.Microseconds())/idle.Seconds()/float64(n), "idle-CPU-µs/s")
		})
	}
}

// BenchmarkFirstPacket is the time from the opening of a socket here to its first packet, of a
// host that has one each millisecond.
func BenchmarkFirstPacket(b *testing.B) {
	s := newScene(b, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				send(s.far, 0, 1)
			}
		}
	})
	for b.Loop() {
		h, err := capture.OpenDevice(s.reader.dev, capture.Config{Promiscuous: true, Immediate: true})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := h.Next(soon(b)); err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
}
