package main

import (
	"cmp"
	"fmt"
	"io"
	"math/bits"
	"net"
	"strings"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/interpose"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// reportMissing prints the devices that the program named and that do not exist.
func reportMissing(w io.Writer, devices []*rxring.Device, feeds io.Closer, r interpose.Result) {
	var names []string
	for _, d := range devices {
		names = append(names, d.Name())
	}
	s, _ := feeds.(*sources) // nil: attached
	for _, m := range r.Missing {
		if s != nil && s.hasEnded(m) {
			fmt.Fprintf(w, "rxring: %s: device removed (its capture file ended); the option stay keeps it\n", m)
			continue
		}
		fmt.Fprintf(w, "rxring: %s: no such device: %s%s\n", m, suggest.Among(m, names), hostsOwn(m, s != nil))
	}
}

// hostsOwn returns how to capture on an interface of the system, if the program named one
// and the devices are those of --from.
func hostsOwn(device string, from bool) string {
	if _, err := net.InterfaceByName(device); err != nil || !from {
		return ""
	}
	return fmt.Sprintf("; as root, --from iface:%s captures on the host's %[1]s", device)
}

// report prints the counts of each socket with a ring, and the frames sent.
func report(w io.Writer, r interpose.Result) {
	for _, s := range r.Sockets {
		device := cmp.Or(s.Device, "all devices")
		if s.Sent > 0 && !s.Unknown {
			frames := "frames"
			if s.Sent == 1 {
				frames = "frame"
			}
			fmt.Fprintf(w, "rxring: %s: %d %s sent\n", cmp.Or(s.SentThrough, device), s.Sent, frames)
		}
		if s.HadRing {
			reportRing(w, device, s)
		}
	}
	if r.Omitted > 0 {
		fmt.Fprintf(w, "rxring: %d more sockets not listed\n", r.Omitted)
	}
}

// places are the counters of packets that a fleet's device lost, with where that was.
var places = []struct{ counter, where string }{
	{"lost_before_device", "before the far device"},
	{"lost_far_ring", "in the far ring"},
	{"lost_retention", "to retention"},
	{"lost_transit", "in transit"},
}

// reportLosses prints where packets of a fleet were lost, for each device that lost some.
func reportLosses(w io.Writer, feeds io.Closer) {
	s, ok := feeds.(*sources)
	if !ok {
		return
	}
	for _, f := range s.List() {
		for _, d := range f.Devices() {
			var lost []string
			counters := f.DeviceCounters(d)
			for _, p := range places {
				if n := counters[p.counter]; n > 0 {
					lost = append(lost, fmt.Sprintf("%d %s", n, p.where))
				}
			}
			if lost != nil {
				fmt.Fprintf(w, "rxring: %s: lost: %s\n", f.Origin(d), strings.Join(lost, ", "))
			}
		}
	}
}

func reportRing(w io.Writer, device string, s interpose.SocketReport) {
	g, t := s.Geometry, s.Totals
	if g.Version == tpacket.V3 {
		fmt.Fprintf(w, "rxring: %s: %v ring of %d blocks x %d bytes\n", device, g.Version, g.BlockNr, g.BlockSize)
	} else {
		fmt.Fprintf(w, "rxring: %s: %v ring of %d slots x %d bytes\n", device, g.Version, g.FrameNr, g.FrameSize)
	}
	if s.Unknown {
		fmt.Fprintf(w, "rxring: its counts are lost: the process that offered the device kept them\n")
		return
	}
	for _, row := range []struct {
		n    uint64
		what string
	}{
		{t.Offered(), "packets offered"},
		{t.Filtered, "filtered out"},
		{t.Captured, "captured"},
	} {
		fmt.Fprintf(w, "rxring: %12d %s\n", row.n, row.what)
	}
	for why, n := range t.Drops.All() {
		if n > 0 || why == ring.Full || why == ring.Owned { // for these two, 0 is news as well
			fmt.Fprintf(w, "rxring: %12d dropped: %s\n", n, why.Explanation())
		}
	}
	if s.Interim > 0 {
		fmt.Fprintf(w, "rxring: of those filtered out, %d passed before the program's own filter was in place\n", s.Interim)
	}
	if hint := slotHint(s); hint != "" {
		fmt.Fprintf(w, "rxring: %s\n", hint)
	}
}

// slotHint suggests a snapshot length if packets were dropped and the ring's slots are much
// larger than the packets; otherwise it returns "". libpcap sizes slots by the snapshot
// length, and only on Ethernet also by the longest packet that the device reports.
func slotHint(s interpose.SocketReport) string {
	const far = 4
	if s.Longest == 0 || s.Totals.Drops[ring.Full] == 0 {
		return ""
	}
	snaplen := uint32(1) << bits.Len32(s.Longest-1)
	if s.Geometry.FrameSize < far*max(snaplen, 256) {
		return ""
	}
	return fmt.Sprintf("its slots are much larger than its packets, which lately had at most %d bytes: a snapshot length of %d (tcpdump -s %d) makes room for more slots", s.Longest, snaplen, snaplen)
}
