package fleet

import (
	"bytes"
	"testing"
)

// A batch that is too short to tell, such as that of a session's first packet, decides about no
// other one.
func TestAutoDecidesByALongBatch(t *testing.T) {
	random := make([]byte, 2*sampleLen)
	for i, x := 0, uint32(1); i < len(random); i++ {
		x = x*1664525 + 1013904223
		random[i] = byte(x >> 24)
	}
	same := bytes.Repeat([]byte("the same again; "), sampleLen/8)
	batch := func(c *compressor, b []byte) string {
		t.Helper()
		_, encoding, err := c.compress(b)
		if err != nil {
			t.Fatal(err)
		}
		return encoding
	}
	for _, first := range [][]byte{random[:100], random[:sampleLen-1]} {
		c := compressor{is: Auto}
		if got := batch(&c, first); got != "" {
			t.Errorf("%d random bytes: %q", len(first), got)
		}
		for n := range sampleEvery {
			if got := batch(&c, same); got != string(S2) {
				t.Fatalf("batch %d after %d random bytes: %q", n, len(first), got)
			}
		}
	}
	c := compressor{is: Auto}
	if got := batch(&c, random); got != "" {
		t.Errorf("random bytes: %q", got)
	}
	for n := range sampleEvery - 1 {
		if got := batch(&c, same); got != "" {
			t.Fatalf("batch %d after a long one that did not become shorter: %q", n, got)
		}
	}
	if got := batch(&c, same); got != string(S2) {
		t.Errorf("batch %d: %q", sampleEvery, got)
	}
}
