package fleet

import (
	"testing"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
)

// What a merger knows of the arrivals of packets does not grow with their number.
func TestArrivalsAreFew(t *testing.T) {
	m := newMerger(maxReorder)
	begin := time.Now()
	for n := range 20000 {
		if err := m.add(nil, nil, nil, &capfile.Packet{Timestamp: int64(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if most := int(time.Since(begin)/grain) + 1; len(m.arrivals) > most {
		t.Errorf("%d arrivals in %v: want at most %d", len(m.arrivals), time.Since(begin), most)
	}
}
