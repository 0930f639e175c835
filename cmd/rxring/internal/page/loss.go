package page

import (
	"github.com/rxring/rxring/cmd/rxring/internal/top"
	"github.com/rxring/rxring/ring"
)

// loss is a reason for which a reader has lost packets.
type loss struct {
	Reason  string  `json:"reason"`  // its name in JSON
	Text    string  `json:"text"`    // the same in a few words
	Packets uint64  `json:"packets"` // since the socket was opened
	Rate    float64 `json:"rate"`    // per second, now
	Advice  string  `json:"advice"`
}

// losses returns a socket's reasons, in the order of the table in package ring.
func losses(s *top.Socket) []loss {
	all := []loss{}
	for why, n := range s.SocketStatus.Dropped.All() {
		if n == 0 {
			continue
		}
		l := loss{Reason: why.Name(), Text: why.Explanation(), Packets: n, Advice: advice(why)}
		if s.Rates != nil {
			l.Rate = s.Rates.Dropped[why]
		}
		all = append(all, l)
	}
	return all
}

// advice returns what to do about a loss.
func advice(why ring.Verdict) string {
	switch why {
	case ring.Full:
		return "The reader is slow: give it a larger ring (tcpdump -B 65536, in KiB), a filter, or a smaller snapshot length (tcpdump -s 96)."
	case ring.Lost:
		return "The packets were lost before they reached rxring. On an interface, the kernel's ring was full: give the source a larger one (iface:eth0,buffer=256MiB). From another host, they were lost in transit: check the link, or use a filter."
	case ring.Throttled:
		return "The user's sockets took more than their share of the writers' time: open fewer sockets, use a narrower filter or a smaller snapshot length."
	case ring.Owned, ring.Releasing:
		return "A writer was slow, not the reader: the machine has too little processor time."
	case ring.NoRoom:
		return "The ring was just closed or replaced, or its slots have no room for the headers: open it with larger slots if this continues."
	case ring.Malformed:
		return "The source delivered packets that its device cannot show: check the type of the device."
	}
	return ""
}
