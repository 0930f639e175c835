package serve

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/feed/feedtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
)

func source(from string) string { return "[[source]]\nfrom = \"" + from + "\"\n" }

func TestSIGTERMWhileASourceIsOpened(t *testing.T) {
	s, err := feed.Parse(feedtest.Endless(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var log lines
	ended := make(chan error)
	path := filepath.Join(t.TempDir(), "s")
	go func() { ended <- Run(ctx, Options{At: path, From: []feed.Spec{s}, Log: &log}) }()
	time.Sleep(20 * time.Millisecond)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("it has listened")
	}
}

func TestSIGTERMWhileTheFileIsRead(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	ctx, cancel := context.WithCancel(t.Context())
	reading := make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, Options{Log: new(lines), Config: func() (*Config, error) {
			close(reading)
			<-hang // as a resolver that does not answer
			return Default(), nil
		}})
	}()
	<-reading
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// A reload whose sources take long revokes at once, grants nothing more, and gives way to the
// next one and to SIGTERM.
func TestRevocationsDoNotWaitForSources(t *testing.T) {
	const old = "[[source]]\nfrom = \"streams:1\"\n[[allow]]\nusers = [0]\ndevices = [\"net0\"]\n"
	need.Root(t, "reload a server whose rules name other users")
	d := begin(t, old)
	slow := feedtest.Endless(t)
	c := d.dial()
	h := d.watch(c, "net0", capture.Config{Snaplen: 300})
	d.read(h, 100, nil)

	// Less of each packet. No other device: the rule that has all is not in force yet.
	d.write("[[source]]\nfrom = \"streams:1\"\n" + source(slow) + source("b=streams:1") + "[[allow]]\nusers = [0]\nsnaplen = 60\n")
	d.hangup <- syscall.SIGHUP
	for longest := 300; longest > 60; {
		longest = 0
		d.read(h, 1000, func(p *ring.Frame) { longest = max(longest, len(p.Data)) })
	}
	if got := names(c); len(got) != 1 || got[0] != "net0" {
		t.Errorf("devices %v", got)
	}
	// Nobody: the one before was not waited for.
	d.write("[[source]]\nfrom = \"streams:1\"\n" + source(slow) + "[[allow]]\nusers = [4242]\n")
	d.hangup <- syscall.SIGHUP
	select {
	case <-c.Done():
	case <-time.After(patient):
		t.Fatal("it is still attached")
	}
	if d.log.find(t, "msg", "reloaded") != nil {
		t.Error("sources were opened")
	}
	// A file with a mistake: the first is in force again.
	d.reload("x = 1\n")
	c = d.dial()
	longest := 0
	d.read(d.watch(c, "net0", capture.Config{}), 1000, func(p *ring.Frame) { longest = max(longest, len(p.Data)) })
	if longest <= 60 {
		t.Errorf("%d bytes of a packet at most", longest)
	}
	d.write(old + source(slow))
	d.hangup <- syscall.SIGHUP
	d.end()
}

func TestBothGrantWhatEachDoes(t *testing.T) {
	parse := func(rule string) *Config {
		t.Helper()
		c, err := Parse("f", []byte("[[allow]]\nusers = [7]\n"+rule), SystemResolver)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	grant := func(now, next string) attach.Grant {
		t.Helper()
		g, err := grantOfBoth(parse(now), parse(next), attach.Peer{UID: 7})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	ports := func(port string) string {
		return "filter_ddd = \"\"\"\n4\n40 0 0 36\n21 0 1 " + port + "\n6 0 0 100\n6 0 0 0\n\"\"\"\n"
	}
	for _, tt := range []struct {
		now, next    string
		snaplen      int
		instructions int
		send         bool
		sockets      int
		memory       int64
	}{
		{"", "", 0, 0, false, 0, 0}, // the same rule: nothing is changed
		{"snaplen = 100\n", "", 100, 0, false, 64, 256 << 20},
		{"snaplen = 100\n", "snaplen = 60\n", 60, 0, false, 64, 256 << 20},
		{"send = true\n", "send = true\nmax_sockets = 100\n", 0, 0, true, 64, 256 << 20},
		{"send = true\nmax_sockets = 3\n", "max_memory = \"1MiB\"\n", 0, 0, false, 3, 1 << 20},
		{ports("80"), "", 0, 4, false, 64, 256 << 20},
		{"", ports("80"), 0, 4, false, 64, 256 << 20},
		{ports("80"), ports("80") + "send = true\n", 0, 4, false, 64, 256 << 20},
		{ports("80"), ports("443"), 100, 8, false, 64, 256 << 20},
	} {
		g := grant(tt.now, tt.next)
		if g.Socket.Snaplen != tt.snaplen || len(g.Socket.Filter) != tt.instructions || g.Socket.NoSend == tt.send || g.MaxSockets != tt.sockets || g.MaxMemory != tt.memory {
			t.Errorf("%q and %q: %+v", tt.now, tt.next, g)
		}
	}
	for _, tt := range []struct{ now, next string }{{"users = [7]", "users = [8]"}, {"users = [8]", "users = [7]"}} {
		now, err := Parse("f", []byte("[[allow]]\n"+tt.now), SystemResolver)
		if err != nil {
			t.Fatal(err)
		}
		next, err := Parse("f", []byte("[[allow]]\n"+tt.next), SystemResolver)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := grantOfBoth(now, next, attach.Peer{UID: 7}); err == nil {
			t.Errorf("%q and %q: %+v", tt.now, tt.next, g)
		}
	}
}
