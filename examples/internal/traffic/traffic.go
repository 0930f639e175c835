// Package traffic makes the packets of the examples. A program of your own has its own.
package traffic

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// headerLen is the length in bytes of the headers of each packet, IPv4 and UDP.
const headerLen = 20 + 8

// Packets yields IPv4 packets, about a thousand a second, as the inside of a tunnel has
// them: UDP from 192.0.2.1 to 192.0.2.2, with a numbered text as payload. It ends with ctx.
func Packets(ctx context.Context) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if !yield(packet(fmt.Sprintf("packet %d of a tunnel", i))) {
				return
			}
		}
	}
}

func packet(text string) []byte {
	b := []byte{
		0x45, 0, 0, byte(headerLen + len(text)), 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
		0x13, 0x88, 0x17, 0x70, 0, byte(8 + len(text)), 0, 0, // UDP, ports 5000 and 6000
	}
	return append(b, text...)
}
