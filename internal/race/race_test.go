package race

import (
	"os"
	"testing"

	"github.com/rxring/rxring/ring"
)

func TestTry(t *testing.T) {
	r, err := Run(t.Context(), Default())
	if err != nil {
		t.Fatal(err)
	}
	r.WriteText(os.Stdout)
	for _, o := range r.Designs {
		t.Logf("%+v", o)
		if o.Tear != nil {
			t.Log(len(o.Tear.timeline.spans), o.Tear.timeline.difficulty)
		}
	}
	_ = ring.Ticket
}
