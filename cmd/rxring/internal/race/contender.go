package race

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rxring/rxring/internal/ownership"
)

// Contender is an ownership design of slots, by its number, or [Blocks].
type Contender uint8

// Blocks is the ring of TPACKET_V3: it has blocks in place of slots, with packets of
// all sizes in them.
const Blocks = Contender(ownership.ReleaseAfterPlain) + 1

func (c Contender) String() string {
	if c == Blocks {
		return "blocks"
	}
	return ownership.Design(c).String()
}

// Contenders returns all contenders, the safe ones first.
func Contenders() (all []Contender) {
	for _, d := range ownership.Designs() {
		all = append(all, Contender(d))
	}
	return slices.Insert(all, 1, Blocks) // behind ticket: what rxring uses
}

// ParseContender returns the contender with that name.
func ParseContender(name string) (Contender, error) {
	var names []string
	for _, c := range Contenders() {
		if c.String() == name {
			return c, nil
		}
		names = append(names, c.String())
	}
	return 0, fmt.Errorf("design %q: want one of %s", name, strings.Join(names, ", "))
}
