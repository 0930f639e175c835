package capfile

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
)

// MaxExtras bounds what an [Extras] keeps, in bytes.
const MaxExtras = 16 << 20

// extraOverhead is what each entry of an Extras is charged besides its bytes.
const extraOverhead = 128

// Extras collects what one or more readers read besides packets, each once, up to [MaxExtras]. The
// zero value is empty. Its methods may be called concurrently.
type Extras struct {
	count atomic.Int64 // of entries; pairs with Len

	mu    sync.Mutex
	all   Extra
	known map[[sha256.Size]byte]bool
	bytes int
	full  bool
}

// ExtraMark is a position in an [Extras]. The zero value is its beginning.
type ExtraMark struct{ comments, secrets, names int }

// Collect adds what a reader with these events reads. leftOut is called once, when the first
// entry has no room.
func (x *Extras) Collect(e *Events, leftOut func(error)) {
	add := func(kind string, parts []string, keep func()) {
		if !x.add(kind, parts, keep) {
			leftOut(fmt.Errorf("secrets, names and comments of more than %d bytes: the rest is left out", MaxExtras))
		}
	}
	e.Comment = func(text string) {
		add("comment", []string{text}, func() { x.all.Comments = append(x.all.Comments, text) })
	}
	e.Secrets = func(s Secrets) {
		add(fmt.Sprint("secrets ", s.Type), []string{string(s.Data)}, func() { x.all.Secrets = append(x.all.Secrets, s) })
	}
	e.Name = func(n Name) {
		add("names of "+n.Addr.String(), n.Names, func() { x.all.Names = append(x.all.Names, n) })
	}
}

// add calls keep unless the entry is known or has no room. It returns false for the first that has
// no room.
func (x *Extras) add(kind string, parts []string, keep func()) bool {
	size := extraOverhead
	hash := sha256.New()
	for _, part := range append([]string{kind}, parts...) {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
		size += len(part) + extraOverhead
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	sum := [sha256.Size]byte(hash.Sum(nil))
	if x.known[sum] {
		return true
	}
	if size > MaxExtras-x.bytes {
		first := !x.full
		x.full = true
		return !first
	}
	if x.known == nil {
		x.known = make(map[[sha256.Size]byte]bool)
	}
	x.known[sum] = true
	x.bytes += size
	keep()
	x.count.Add(1)
	return true
}

// Len returns how many entries there are. It does not block.
func (x *Extras) Len() int64 { return x.count.Load() }

// Since returns what was added since mark, and moves mark to the end.
func (x *Extras) Since(mark *ExtraMark) Extra {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := Extra{x.all.Comments[mark.comments:], x.all.Secrets[mark.secrets:], x.all.Names[mark.names:]}
	*mark = ExtraMark{len(x.all.Comments), len(x.all.Secrets), len(x.all.Names)}
	return e
}

// ExtraCursor reads what several [Extras] have, as it is added. It must not be used concurrently.
type ExtraCursor struct {
	all   []*Extras
	marks []ExtraMark
	read  int64 // entries
}

// NewExtraCursor returns a cursor at the beginning of each.
func NewExtraCursor(all []*Extras) *ExtraCursor {
	return &ExtraCursor{all: all, marks: make([]ExtraMark, len(all))}
}

// Next returns what was added since the last call. It reports false if that is nothing, which
// costs an atomic load for each Extras.
func (c *ExtraCursor) Next() (e Extra, more bool) {
	n := int64(0)
	for _, x := range c.all {
		n += x.Len()
	}
	if n == c.read {
		return e, false
	}
	c.read = 0
	for i, x := range c.all {
		next := x.Since(&c.marks[i])
		e.Comments = append(e.Comments, next.Comments...)
		e.Secrets = append(e.Secrets, next.Secrets...)
		e.Names = append(e.Names, next.Names...)
		m := c.marks[i]
		c.read += int64(m.comments + m.secrets + m.names)
	}
	return e, true
}
