package capfile

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
)

// Each entry is kept once, however often a stream repeats it, and read once by each cursor.
func TestExtrasAreKeptOnce(t *testing.T) {
	var x, other Extras
	var e Events
	x.Collect(&e, func(err error) { t.Error(err) })
	c := NewExtraCursor([]*Extras{&other, &x})
	if got, more := c.Next(); more {
		t.Errorf("%+v", got)
	}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for range 3 {
		e.Comment("one")
		e.Secrets(Secrets{1, []byte("one")})
		e.Secrets(Secrets{2, []byte("one")})
		e.Name(Name{a, []string{"x", "y"}})
		e.Name(Name{a, []string{"xy"}})
		e.Name(Name{b, []string{"x", "y"}})
	}
	want := Extra{
		Comments: []string{"one"},
		Secrets:  []Secrets{{1, []byte("one")}, {2, []byte("one")}},
		Names:    []Name{{a, []string{"x", "y"}}, {a, []string{"xy"}}, {b, []string{"x", "y"}}},
	}
	if got, more := c.Next(); !more || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	e.Comment("two")
	if got, more := c.Next(); !more || !reflect.DeepEqual(got, Extra{Comments: []string{"two"}}) {
		t.Errorf("%+v", got)
	}
	if got, more := c.Next(); more {
		t.Errorf("%+v", got)
	}
}

// What a stream can make an Extras hold is bounded, and what is left out is reported once.
func TestExtrasAreBounded(t *testing.T) {
	var x Extras
	var e Events
	var reported []string
	x.Collect(&e, func(err error) { reported = append(reported, err.Error()) })
	for n := range 40 {
		e.Secrets(Secrets{uint32(n), make([]byte, 1<<20)})
	}
	for n := range 2 * MaxExtras / extraOverhead {
		e.Comment(fmt.Sprint(n))
	}
	all := x.Since(new(ExtraMark))
	if x.bytes > MaxExtras || len(all.Secrets) != 15 || len(all.Comments) > MaxExtras/extraOverhead {
		t.Errorf("%d bytes, %d secrets, %d comments", x.bytes, len(all.Secrets), len(all.Comments))
	}
	if want := "secrets, names and comments of more than 16777216 bytes: the rest is left out"; len(reported) != 1 || reported[0] != want {
		t.Errorf("%q", reported)
	}
}
