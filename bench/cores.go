package bench

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// Rows of the table of what cores cost: package scaling predicts from them.
const (
	rowLocked = "locked instruction, line in the own cache"
	rowTurn   = "turn of two cores that write one line alternately"
)

// coreCells measures what the model of package scaling needs to know of the machine.
func coreCells() []cell {
	return []cell{
		{coresTable, rowLocked, coresColumn, locked},
		{coresTable, rowTurn, coresColumn, turns},
	}
}

const coresColumn = "2 cores"

// CoreCosts returns the nanoseconds of a locked instruction, and of a turn of two cores that write one line
// alternately.
func (f *Figures) CoreCosts() (locked, turn float64, ok bool) {
	l, ok := f.cell(cell{table: coresTable, row: rowLocked, column: coresColumn}.name())
	t, ok2 := f.cell(cell{table: coresTable, row: rowTurn, column: coresColumn}.name())
	return l.Median, t.Median, ok && ok2
}

// OfWriters returns the nanoseconds of a packet of writers that fill a ring together, by the row's name.
func (f *Figures) OfWriters(size, row string, writers int) (ns float64, ok bool) {
	c, ok := f.cell(writersCell(size+", "+row, writers))
	return c.Median, ok
}

// BareCopy returns the nanoseconds of a copy into a ring.
func (f *Figures) BareCopy(size string) (ns float64, ok bool) {
	c, ok := f.cell(copyOf(size))
	return c.Median, ok
}

// quietest is the time of n laps of which most were disturbed: n times the lap that a tenth are faster than.
func (l *laps) quietest() time.Duration {
	each := l.each[:min(l.n, len(l.each))]
	slices.Sort(each)
	return each[len(each)/10] * time.Duration(l.n)
}

func locked(budget time.Duration) (s Sample, err error) {
	const lap = 1000
	var word atomic.Uint64
	var l laps
	for l.total < budget {
		start := time.Now()
		for range lap {
			word.Add(1)
		}
		l.add(time.Since(start))
		s.Offered += lap
	}
	s.Elapsed, s.Accepted = l.quietest(), s.Offered
	return s, nil
}

// turns has two cores write to a line in turn. Each waits for the other's write, so that a turn is one
// load of a line that the other has just written, and the store that takes it away from the other.
func turns(budget time.Duration) (s Sample, err error) {
	crew, err := newCrew(2)
	if err != nil {
		return s, err
	}
	defer crew.close()
	const lap = 1000
	var line struct {
		_    [64]byte
		turn atomic.Uint64
		_    [64]byte
	}
	deadline := time.Now().Add(20 * budget)
	var l laps
	for l.total < budget && time.Now().Before(deadline) {
		line.turn.Store(0)
		l.add(crew.write(func(writer int) {
			for turn := uint64(writer); turn < lap; turn += 2 {
				for spins := 0; line.turn.Load() != turn; spins++ {
					if spins > 1<<16 {
						runtime.Gosched() // the other one is not running
					}
				}
				line.turn.Store(turn + 1)
			}
		}))
		s.Offered += lap
	}
	s.Elapsed, s.Accepted = l.quietest(), s.Offered
	return s, nil
}
