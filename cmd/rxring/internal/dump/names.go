package dump

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lestrrat-go/strftime"

	"github.com/rxring/rxring/internal/explain"
)

// namer calls files what tcpdump calls them.
type namer struct {
	file    string
	pattern *strftime.Strftime // nil: file is the name
	ring    int                // so many names, again and again; 0: no end

	count int // of names so far; with a pattern, of those that are last
	last  string
}

// newNamer looks at file, which holds a time as strftime(3) writes it where each
// period has a file.
func newNamer(file string, r Rotation) (*namer, error) {
	n := &namer{file: file}
	if r.Period == 0 {
		n.ring = r.Files
	} else if strings.Contains(file, "%") {
		var err error
		if n.pattern, err = strftime.New(file, strftime.WithUnixSeconds('s')); err != nil {
			return nil, explain.Errorf(err, "-w %s: with -G, want conversions of strftime(3) after each %%, such as %%Y%%m%%d-%%H%%M%%S, and %%%% for the character %%", file)
		}
	}
	return n, nil
}

// next is the name of the next file, of a period that begins at start. The first of a
// name has no number, unless numbers come again.
func (n *namer) next(start time.Time) string {
	name := n.file
	if n.pattern != nil {
		if name = n.pattern.FormatString(start); name != n.last {
			n.last, n.count = name, 0
		}
	}
	i := n.count
	n.count++
	switch {
	case n.ring > 0:
		return name + fmt.Sprintf("%0*d", len(strconv.Itoa(n.ring-1)), i%n.ring)
	case i > 0:
		return name + strconv.Itoa(i)
	}
	return name
}
