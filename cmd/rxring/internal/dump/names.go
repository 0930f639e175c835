package dump

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lestrrat-go/strftime"

	"github.com/rxring/rxring/internal/explain"
)

// namer names files as tcpdump does.
type namer struct {
	file    string
	pattern *strftime.Strftime // nil: file is the name
	cycle   int                // number of names to cycle through; 0: no limit

	count int // names so far; with a pattern, those equal to last
	last  string
}

// newNamer returns a namer for file, in which conversions of strftime(3) are replaced if
// timed is set.
func newNamer(file string, timed bool, cycle int) (*namer, error) {
	n := &namer{file: file, cycle: cycle}
	if timed && strings.Contains(file, "%") {
		var err error
		if n.pattern, err = strftime.New(file, strftime.WithUnixSeconds('s')); err != nil {
			return nil, explain.Errorf(err, "-w %s: with -G or --record, want conversions of strftime(3) after each %%, such as %%Y%%m%%d-%%H%%M%%S, and %%%% for the character %%", file)
		}
	}
	return n, nil
}

// next returns the name of the next file, of a period that begins at start. The first file
// of a name has no number, unless names are cycled through. A number precedes the extension of
// a compression, by which decompressors know their files.
func (n *namer) next(start time.Time) string {
	name := n.file
	if n.pattern != nil {
		if name = n.pattern.FormatString(start); name != n.last {
			n.last, n.count = name, 0
		}
	}
	i := n.count
	n.count++
	base, extension := splitCompression(name)
	switch {
	case n.cycle > 0:
		return base + fmt.Sprintf("%0*d", len(strconv.Itoa(n.cycle-1)), i%n.cycle) + extension
	case i > 0:
		return base + strconv.Itoa(i) + extension
	}
	return name
}
