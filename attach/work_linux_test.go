package attach_test

import (
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
)

// A user who has asked for too much waits. Meanwhile its readers read, and what it does not
// wait for any more is not done.
func TestWhoAsksForTooMuchWaits(t *testing.T) {
	t.Cleanup(attach.TrustNobody())
	o := listen(t, attach.Config{})
	reader := o.dial(t)
	s := socket(t, reader, rxring.SockRaw)
	bind(t, s, o.dev.Index())
	waits := o.dial(t)
	other := socket(t, waits, rxring.SockRaw)
	attach.Owe(o.Server, time.Hour)
	asked := make(chan error)
	go func() { asked <- other.AttachFilter([]cbpf.Instruction{{Op: 0x06}}) }()
	for i := range 10 {
		o.dev.Deliver(&rxring.Packet{Data: frame(i, 60)})
		eventually(t, "a packet", s.Readable)
		if _, err := s.Recv(make([]byte, 100), 0); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-asked:
		t.Fatalf("it does not wait: %v", err)
	default:
	}
	waits.Close()
	if err := <-asked; err == nil {
		t.Error("what nobody waits for was done")
	}
	eventually(t, "the end of who waited", func() bool { return len(o.Status().Sockets) == 1 })
}
