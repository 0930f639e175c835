package dump

import (
	"time"

	"github.com/rxring/rxring/capture"
)

// sampleParts is how many times the counts are read while the memory of a flight recorder is
// filled once.
const sampleParts = 16

// sample is the capture's counts at a time.
type sample struct {
	stats  capture.Stats
	time   int64  // nanoseconds since the Unix epoch
	read   uint32 // index of the packet that was read last
	stored uint32 // and of the last one that can be in the ring: what is dropped by now was delivered before the next one
}

// losses finds how many packets were dropped between packets of a flight recorder's memory. It
// must not be used concurrently.
type losses struct {
	disorder uint32 // by how many places packets can be read in another order than they have in the ring
	samples  []sample
}

// add adds the counts of now, and forgets those that the packet with the index oldest and later
// ones do not need. A handle's counts are not all of the same moment: after must have been read
// later, so that it counts every packet that was stored before one that now counts as dropped.
func (l *losses) add(now, after capture.Stats, read, oldest uint32) {
	l.samples = l.samples[:copy(l.samples, l.samples[l.placeBefore(oldest):])]
	stored := uint32(after.Packets-after.Drops) + l.disorder
	l.samples = append(l.samples, sample{now, time.Now().UnixNano(), read, stored})
}

// before returns the newest counts from before a packet was delivered.
func (l *losses) before(index uint32) sample { return l.samples[l.placeBefore(index)] }

func (l *losses) placeBefore(index uint32) (i int) {
	for i+1 < len(l.samples) && int32(index-l.samples[i+1].stored) > 0 {
		i++
	}
	return i
}

// after returns the oldest counts from after a packet was read. ok is false if there are none.
func (l *losses) after(index uint32) (_ sample, ok bool) {
	for _, s := range l.samples {
		if int32(s.read-index) >= 0 {
			return s, true
		}
	}
	return sample{}, false
}
