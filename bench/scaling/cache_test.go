package scaling

import "testing"

// machine has domains of two cores.
var machine = Machine{Hit: 1, Store: 1, Locked: 5, Near: 20, Far: 100, Domain: 2}

func coresInOrder(n int) (place []int) {
	for i := range n {
		place = append(place, i)
	}
	return place
}

// at is a step of a core: it requests the line, and has it when the line has moved.
func at(c *caches, core int, alone bool, now Time) Time {
	return c.move(core, 1, alone, c.request(core, 1, alone, now))
}

func TestLineMovesToTheCoreThatWantsIt(t *testing.T) {
	const read, write = false, true
	for _, s := range []struct {
		name  string
		steps []bool // alone: of core 0, 1, 2 in turn
		core  int
		alone bool
		want  Time
	}{
		{"nobody has it", nil, 0, read, 0},
		{"has it", []bool{write}, 0, write, 0},
		{"reads that of a near core", []bool{write}, 1, read, 20},
		{"reads that of a far core", []bool{write}, 2, read, 100},
		{"reads it again", []bool{write, read}, 1, read, 0},
		{"writes what another one reads, too", []bool{write, read}, 1, write, 20},
		{"writes what a far core reads, too", []bool{write, read, read}, 1, write, 100},
		{"has lost it to a writer", []bool{write, write}, 0, read, 20},
	} {
		c := newCaches(&machine, coresInOrder(4))
		for core, alone := range s.steps {
			at(c, core, alone, 0)
		}
		const later = 10000
		if got := at(c, s.core, s.alone, later) - later; got != s.want {
			t.Errorf("%s: %d, want %d", s.name, got, s.want)
		}
	}
}

func TestCoresThatWantOneLineWaitForEachOther(t *testing.T) {
	c := newCaches(&machine, coresInOrder(4))
	at(c, 0, true, 0)
	// Both requests are there after 50; the line is at core 2 after 100, and then goes to core 3, which
	// is near that one.
	first, second := c.request(2, 1, true, 1000), c.request(3, 1, true, 1000)
	if got := c.move(2, 1, true, first); got != 1100 {
		t.Errorf("the first has it at %d, want 1100", got)
	}
	if got := c.move(3, 1, true, second); got != 1110 {
		t.Errorf("the second has it at %d, want 1110: half a near transfer after the first", got)
	}
}

func TestOwnerHasTheLineUntilTheRequestArrives(t *testing.T) {
	c := newCaches(&machine, coresInOrder(4))
	at(c, 0, true, 0)
	c.request(2, 1, true, 1000)
	if got := at(c, 0, true, 1010); got != 1010 {
		t.Errorf("%d, want 1010: the request is on its way", got)
	}
}

func TestLockedInstructionWaitsForTheStoreBuffer(t *testing.T) {
	c := newCaches(&machine, coresInOrder(4))
	at(c, 2, true, 0)
	if got := c.store(0, 1, 1000); got != 1001 {
		t.Errorf("a store takes until %d, want 1001: it is buffered", got)
	}
	if c.drained[0] != 1100 {
		t.Errorf("the store buffer is empty at %d, want 1100: the line is far", c.drained[0])
	}
}
