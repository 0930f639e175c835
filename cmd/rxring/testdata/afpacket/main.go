// Command afpacket captures with gopacket's afpacket, as Go programs do: it
// knows nothing of rxring. With several members it shares the packets among
// them by PACKET_FANOUT.
package main

import (
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/afpacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var (
	device  = flag.String("i", "", "device, empty for all")
	version = flag.Int("version", -1, "TPACKET version, 1 to 3; -1: the highest there is")
	count   = flag.Int("c", 1000, "packets to capture")
	file    = flag.String("w", "x.pcap", "file to write to; one for each member, numbered")
	members = flag.Int("members", 1, "sockets to share the packets between")
	fanout  = flag.String("fanout", "hash", "how: hash, lb, cpu, rollover, rnd or qm")
)

var fanouts = map[string]afpacket.FanoutType{
	"hash": afpacket.FanoutHash, "lb": afpacket.FanoutLoadBalance, "cpu": afpacket.FanoutCPU,
	"rollover": afpacket.FanoutRollover, "rnd": afpacket.FanoutRandom, "qm": afpacket.FanoutQueueMapping,
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	sockets := make([]*afpacket.TPacket, *members)
	for i := range sockets {
		s, err := open()
		if err != nil {
			log.Fatalf("member %d: %v", i, err)
		}
		defer s.Close()
		if *members > 1 {
			if err := s.SetFanout(fanouts[*fanout], 7); err != nil {
				log.Fatalf("member %d: fanout: %v", i, err)
			}
		}
		sockets[i] = s
	}
	// What came before everybody was a member is everybody's. A writer on a busy
	// machine may have chosen a member long before it puts its packet there, with
	// the time of then.
	joined := time.Now().Add(2 * time.Second)
	flows := make([]map[gopacket.Flow]bool, *members)
	var reading sync.WaitGroup
	for i, s := range sockets {
		reading.Go(func() {
			var err error
			if flows[i], err = capture(s, joined, fmt.Sprintf("%s%d", *file, i)); err != nil {
				log.Fatalf("member %d: %v", i, err)
			}
		})
	}
	reading.Wait()
	var all, shared int
	seen := make(map[gopacket.Flow]bool)
	for i, s := range sockets {
		v2, v3, err := s.SocketStats()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("member %d: %d connections, %d dropped\n", i, len(flows[i]), v2.Drops()+v3.Drops())
		for f := range flows[i] {
			if seen[f] {
				shared++
			}
		}
		maps.Copy(seen, flows[i])
		all += len(flows[i])
	}
	fmt.Printf("%d connections, %d of them at more than one member\n", len(seen), shared)
}

func open() (*afpacket.TPacket, error) {
	v := afpacket.TPacketVersionHighestAvailable
	if *version > 0 {
		v = afpacket.OptTPacketVersion(*version - 1)
	}
	return afpacket.NewTPacket(
		afpacket.OptInterface(*device),
		v,
		afpacket.OptFrameSize(1<<17), // room for large segments
		afpacket.OptBlockSize(1<<20),
		afpacket.OptNumBlocks(8),
		afpacket.OptPollTimeout(time.Minute),
	)
}

// capture writes a member's packets from a moment on to a file of its own, and
// returns the connections that they are of.
func capture(s *afpacket.TPacket, from time.Time, name string) (map[gopacket.Flow]bool, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(1<<18, layers.LinkTypeEthernet); err != nil {
		return nil, err
	}
	flows := make(map[gopacket.Flow]bool)
	for n := 0; n < *count / *members; n++ {
		data, info, err := s.ZeroCopyReadPacketData()
		if err != nil {
			return nil, err
		}
		if *members > 1 && info.Timestamp.Before(from) {
			n--
			continue
		}
		if p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy).TransportLayer(); p != nil {
			from, to := p.TransportFlow().Endpoints()
			if to.LessThan(from) { // both directions are one connection
				from, to = to, from
			}
			flows[gopacket.NewFlow(from.EndpointType(), from.Raw(), to.Raw())] = true
		}
		if err := w.WritePacket(info, data); err != nil {
			return nil, err
		}
	}
	return flows, f.Close()
}
