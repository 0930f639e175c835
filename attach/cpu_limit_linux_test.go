package attach_test

import (
	"os"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// A user who has asked for too much waits. Meanwhile its readers read, and what it does not
// wait for any more is not done.
func TestCostlyRequestsWait(t *testing.T) {
	t.Cleanup(attach.TrustNoUser())
	o := listen(t, attach.Config{})
	reader := o.dial(t)
	s := socket(t, reader, rxring.SockRaw)
	bind(t, s, o.dev.Index())
	waits := o.dial(t)
	other := socket(t, waits, rxring.SockRaw)
	attach.ChargeAll(o.Server, time.Hour)
	asked := make(chan error)
	go func() { asked <- other.AttachFilter([]cbpf.Instruction{{Op: 0x06}}) }()
	for i := range 10 {
		o.dev.Deliver(&rxring.Packet{Data: frame(i, 60)})
		eventually(t, "a packet", func() bool { _, readable, _ := s.Poll(nil); return readable })
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
		t.Error("a request without a waiting peer was served")
	}
	eventually(t, "the end of who waited", func() bool { return len(o.Status().Sockets) == 1 })
}

// The server notifies its owner of a user whose sockets take too much time, and repeats
// that while it lasts, with the number of packets dropped since.
func TestAThrottledUserIsTold(t *testing.T) {
	t.Cleanup(attach.TrustNoUser())
	told := make(chan attach.Event, 100)
	o := listen(t, attach.Config{Notify: func(e attach.Event) {
		if e.Kind == attach.UserThrottled {
			told <- e
		}
	}})
	other, err := o.ns.SocketFor(&rxring.Grant{Account: rxring.NewAccount()}, rxring.SockRaw, tpacket.ETHPAll)
	must(t, err)
	defer other.Close()
	c := o.dial(t)
	prog := make([]cbpf.Instruction, 4095)
	for i := range prog {
		prog[i] = cbpf.Instruction{Op: 0x04, K: 1} // add #1
	}
	prog = append(prog, cbpf.Instruction{Op: 0x06})
	for range 8 {
		s := socket(t, c, rxring.SockRaw)
		if err := s.AttachFilter(prog); err != nil {
			t.Fatal(err)
		}
		bind(t, s, o.dev.Index())
	}
	for {
		for i := range 100 {
			o.dev.Deliver(&rxring.Packet{Data: frame(i, 60)})
		}
		select {
		case e := <-told:
			if e.Peer.UID != uint32(os.Geteuid()) || e.Count == 0 || len(told) > 0 {
				t.Errorf("%+v, and %d more", e, len(told))
			}
			return
		default:
		}
	}
}
