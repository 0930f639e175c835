package capture_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
)

// Comments are shown where they are asked for, in this process and another one, also behind
// packets that fill their slot.
func TestComments(t *testing.T) {
	here, there := newOurs(t), newAttached(t)
	for name, w := range map[string]struct {
		wire
		dev *rxring.Device
	}{"here": {here, here.dev}, "attached": {there, there.dev}} {
		for _, immediate := range []bool{false, true} {
			for _, asked := range []bool{false, true} {
				h := w.open(t, capture.Config{Immediate: immediate, Retire: time.Millisecond, Comments: asked})
				comment := strings.Repeat("rule 7 ", 30)
				longest := make([]byte, h.Snaplen())
				if !immediate {
					longest = longest[:1500]
				}
				w.dev.Deliver(&rxring.Packet{Data: longest, Comment: comment})
				w.dev.Deliver(&rxring.Packet{Data: make([]byte, 60)})
				for _, want := range []string{comment, ""} {
					if !asked {
						want = ""
					}
					f, err := h.Next(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					if f.Comment() != want {
						t.Errorf("%s, immediate %v, asked %v: %q, want %q", name, immediate, asked, f.Comment(), want)
					}
				}
				h.Close()
			}
		}
	}
}
