package feed

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/feed/feedtest"
	"github.com/rxring/rxring/cmd/rxring/internal/reaper"
	"github.com/rxring/rxring/internal/racetest"
)

func TestMain(m *testing.M) {
	racetest.NoExitSleep()
	reaper.Init()
	goleak.VerifyTestMain(m)
}

func TestASpecIsWrittenAsItIsRead(t *testing.T) {
	for text, want := range map[string]string{ // the device's name
		"streams":                                 "",
		"streams:4":                               "",
		"wg0=streams:4":                           "wg0",
		"iface:eth0":                              "",
		"lan=iface:eth0.7,immediate,fanout=2":     "lan",
		"file:trace.pcapng,speed=10,loop":         "",
		"file:a=b.pcap":                           "",
		"x=file:a=b,,c.pcap,loop=3,now,speed=0.5": "x",
		"file:/srv/1:2.pcap,speed=max":            "",
		"iface:eth0,buffer=64MiB,snaplen=128":     "",
		"iface:eth0,nosend":                       "",
		"file:comma at the end,,":                 "",
		"file:,,comma at the beginning,,,,two":    "",
		"streams:0":                               "",
		"file:x.pcap,after=3s,readers=4,stay":     "",
		"lan=file:x.pcap,now,addr=2001:db8::7/64": "lan",
		"pcap:-":                                     "",
		"x=pcap:-,now,stay":                          "x",
		"pcap:tcp:[::1]:57012,reconnect":             "",
		"pcap:unix:/run/a,,b.sock,after=3s":          "",
		"pcap:/srv/fifo,readers=2,addr=192.0.2.1/24": "",
		"exec:ssh web1 tcpdump -w - port 1,,2":       "",
		"ts=exec:tailscale debug capture -o -":       "ts",
		"a-name.of_15-xx=file:x,now,loop=2147483647": "a-name.of_15-xx",
	} {
		s, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if s.String() != text || s.Name() != want {
			t.Errorf("%s: written as %s, name %q", text, s, s.Name())
		}
		if n := s.WithName("z"); n.String() != "z="+s.WithoutName() {
			t.Errorf("%s: with a name: %s, without one: %s", text, n, s.WithoutName())
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"streams:4", "a=iface:b,fanout=3", "x=file:a=b,,c.pcap,loop=3,now,speed=0.5", "=", ",,", "file:,,,"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(s.String()); err != nil || again.String() != s.String() || again.Name() != s.Name() {
			t.Errorf("%q: written as %q, which is read as %q, %v", text, s, again, err)
		}
	})
}

func TestAFeedAddsAndRemovesItsDevice(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	open := func(text string) (*Feed, error) {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		found, err := Inspect(t.Context(), []Spec{s})
		if err != nil {
			return nil, err
		}
		return found[0].Open(Config{Namespace: ns})
	}
	f, err := open("a=streams:1")
	if err != nil {
		t.Fatal(err)
	}
	if f.Names() != "a" || f.Counters() != nil || f.Done() != nil {
		t.Errorf("%s, %v, %v before Start", f.Names(), f.Counters(), f.Done())
	}
	if _, err := open("a=streams:2"); !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), `"a=streams:2"`) {
		t.Errorf("another a: %v", err)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	if n, ok := f.Counters()["frames"]; !ok {
		t.Errorf("frames: %d, %v", n, ok)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if ds := ns.Devices(); len(ds) != 0 {
		t.Errorf("devices %v", ds)
	}
	if f, err = open("a=streams:0"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil { // never started
		t.Error(err)
	}
}

// Sources are inspected side by side: one that takes long does not hide another's error, and
// the end of the context ends them.
func TestInspectReturnsTheFirstErrorWhileAFileIsRead(t *testing.T) {
	specs := func(texts ...string) (all []Spec) {
		for _, text := range texts {
			s, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, s)
		}
		return all
	}
	slow := feedtest.Endless(t)
	if _, err := Inspect(t.Context(), specs(slow, "streams:0", "file:/no/such/file")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("beside a file that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := Inspect(ctx, specs(slow)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
