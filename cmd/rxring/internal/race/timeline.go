package race

import (
	"cmp"
	"slices"
	"time"
)

// timeline is what happened around a torn packet, as recorded.
type timeline struct {
	from, to   time.Duration // since the round began
	spans      []span        // of the writers, by time
	reads      []readSpan
	read       readSpan // the torn packet's
	difficulty int      // to follow; less is better
}

// timeline is called when writers and reader have finished.
func (rd *round) timeline(t *Tear) (tl timeline) {
	for _, s := range rd.reader.spans.items {
		if s.torn && (tl.read == readSpan{} || s.seen < tl.read.seen) {
			tl.read = s
		}
	}
	involved := t.involved()
	// From the first acquire of the packets involved to their last release.
	tl.from, tl.to = tl.read.seen, tl.read.returned
	found := 0
	writers := map[int]bool{}
	for _, w := range rd.writers {
		for _, s := range w.spans.items {
			if slices.Contains(involved, s.packet) {
				found++
				writers[s.packet.Writer] = true
				tl.from = min(tl.from, s.acquired)
				tl.to = max(tl.to, s.released)
			}
		}
	}
	margin := (tl.to - tl.from) / 25
	tl.from, tl.to = tl.from-margin, tl.to+margin
	for _, w := range rd.writers {
		for _, s := range w.spans.items {
			if s.released >= tl.from && s.acquired <= tl.to {
				tl.spans = append(tl.spans, s)
			}
		}
	}
	slices.SortFunc(tl.spans, func(a, b span) int { return cmp.Compare(a.acquired, b.acquired) })
	for _, s := range rd.reader.spans.items {
		if s.returned >= tl.from && s.seen <= tl.to {
			tl.reads = append(tl.reads, s)
		}
	}
	slices.SortFunc(tl.reads, func(a, b readSpan) int { return cmp.Compare(a.seen, b.seen) })

	tl.difficulty = len(tl.spans) + 10*len(t.Ranges)
	for _, r := range t.Ranges {
		if r.To-r.From < t.Bytes/6 {
			tl.difficulty += 30 // too narrow to see
		}
	}
	if len(writers) < 2 || found < len(involved) {
		tl.difficulty += 1000 // does not show two writers in one slot
	}
	return tl
}

// present are the packets that were in the torn one's slot between the reader's
// last visit there and this one.
func (t *timeline) present() (all []span) {
	last := t.from
	for _, s := range t.reads {
		if s.slot == t.read.slot && s.returned <= t.read.seen {
			last = max(last, s.returned)
		}
	}
	for _, s := range t.spans {
		if s.slot == t.read.slot && s.acquired <= t.read.seen && s.released >= last {
			all = append(all, s)
		}
	}
	return all
}
