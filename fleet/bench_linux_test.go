package fleet_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
)

// startHubProcess returns a hub in another process, and its URL.
func startHubProcess(b *testing.B) (hub *party, url string) {
	b.Helper()
	return startParty(b, "hub", "127.0.0.1:0")
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
//
//	go test -run '^$' -bench 'Hosts|FirstPacket' -benchtime 10x
func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hub, url := startHubProcess(b)
			nc := dial(b, url)
			empty := residentMemory(b, hub.cmd.Process.Pid)
			for i := range n {
				ship(b, dial(b, url), newDevice(b, eth0), fleet.ShipConfig{Host: fmt.Sprintf("h%d", i), Lease: 15 * time.Second})
			}
			const idle = 5 * time.Second
			time.Sleep(time.Second)
			before := cpuTime(b)
			time.Sleep(idle)
			cpu := cpuTime(b) - before
			used := residentMemory(b, hub.cmd.Process.Pid) - empty
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
