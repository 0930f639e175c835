package feed

import (
	"fmt"
	"testing"

	"gvisor.dev/gvisor/pkg/log"
)

// gVisor's warnings go to the log of the source's opener.
func TestWarningsOfTheNetworkStack(t *testing.T) {
	before := log.Log().Emitter
	defer log.SetTarget(before)
	var got []string
	SetWarnings(func(text string) { got = append(got, text) })
	log.Warningf("%d routes", 2)
	if fmt.Sprint(got) != "[2 routes]" {
		t.Errorf("%q", got)
	}
}
