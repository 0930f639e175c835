package race

import (
	"slices"

	"github.com/rxring/rxring/internal/ownership"
)

// fault is a kind of fault that a design can have.
type fault uint8

const (
	torn     fault = iota // a packet that two writers wrote
	stuck                 // no writer owns a slot, and yet none can be acquired
	astray                // packets read twice or never: writers and reader disagree on the order
	needless              // a packet dropped because of an owner that is gone
)

// promise is the claim about a design with a lawful reader: which faults it has, of
// which a forced run shows at least one, and which others may follow from them. Any
// other fault is a failure.
type promise struct {
	how      string // how a slot is owned
	expected string
	has, may []fault
}

var promises = [...]promise{ // by Contender
	// A writer that is preempted between ticket's last two stores for longer than the
	// others' bounded wait.
	Contender(ownership.Ticket):      {"no lock: a ticket counter, and a private sequence word for each slot", "whole", nil, []fault{needless}},
	Blocks:                           {"TPACKET_V3: packets reserve bytes of a block in one step; the last writer in a block hands it over", "whole", nil, nil},
	Contender(ownership.OwnerMap):    {"a private bit for each slot; status and bit change under one lock (Linux since 5.6)", "whole", nil, nil},
	Contender(ownership.Tail):        {"as owner-map, with the bits at the end of the slot vector", "whole", nil, nil},
	Contender(ownership.ShadowRing):  {"as owner-map, with a private word for each slot instead of a bit", "whole", nil, nil},
	Contender(ownership.KernelOwned): {"a third status in the slot itself, for readers that know it", "whole", nil, nil},

	// Two owners of one slot publish it twice, and reader and writers lose step.
	Contender(ownership.Unguarded):     {"only the slot's status (Linux before 5.6)", "torn", []fault{torn}, []fault{stuck, astray}},
	Contender(ownership.ReleaseBefore): {"a private bit; releasing clears it, then stores the status, without a lock", "torn", []fault{torn}, []fault{stuck, astray, needless}},

	Contender(ownership.ReleaseAfter):      {"a private bit; releasing stores the status, then clears the bit, without a lock", "lost for nothing", []fault{needless}, nil},
	Contender(ownership.ReleaseAfterPlain): {"as release-after, with plain instead of atomic changes of the bits", "torn or stuck", []fault{torn, stuck}, []fault{astray, needless}},
	Contender(ownership.SlotMark):          {"a mark in the slot's own padding, where the reader may store, too", "stuck", []fault{stuck}, []fault{needless}},
}

// Verdict is whether a design behaved as claimed.
type Verdict string

const (
	OK        Verdict = "ok"
	Failed    Verdict = "FAIL"
	NotForced Verdict = "not forced" // it showed no fault, and the run was not forced
)

// setVerdict compares the faults that a run showed with the design's promise.
func (o *Outcome) setVerdict(forced bool) {
	p := promises[o.design]
	o.Expected = p.expected
	shown := o.faults()
	o.Verdict = OK
	switch {
	case slices.ContainsFunc(shown, func(f fault) bool { return !slices.Contains(p.has, f) && !slices.Contains(p.may, f) }):
		o.Verdict = Failed
	case !o.lacksFault():
	case forced:
		o.Verdict = Failed
	default:
		o.Verdict = NotForced
	}
}

// lacksFault reports whether the design has faults and showed none of them so far.
func (o *Outcome) lacksFault() bool {
	has := promises[o.design].has
	return len(has) > 0 && !slices.ContainsFunc(o.faults(), func(f fault) bool { return slices.Contains(has, f) })
}

func (o *Outcome) faults() (shown []fault) {
	if o.Torn > 0 {
		shown = append(shown, torn)
	}
	if o.Stuck {
		shown = append(shown, stuck)
	}
	if o.Read != o.Accepted || o.Repeated > 0 {
		shown = append(shown, astray)
	}
	if o.LostForNothing > 0 {
		shown = append(shown, needless)
	}
	return shown
}
