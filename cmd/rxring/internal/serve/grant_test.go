package serve

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
)

func TestTheFirstRuleThatNamesAPeerIsItsOwn(t *testing.T) {
	c := mustParse(t, `
[[allow]]
users = ["alice"]
max_sockets = 1
[[allow]]
groups = ["pcap", 3000]
max_sockets = 2
[[allow]]
users = [1001]
groups = ["staff"]
max_sockets = 3
`)
	for _, tt := range []struct {
		name string
		peer attach.Peer
		want int // sockets; 0: refused
	}{
		{"by name", attach.Peer{UID: 1000, GID: 9}, 1},
		{"by name, and in a later rule's group", attach.Peer{UID: 1000, GID: 2000}, 1},
		{"by the primary group", attach.Peer{UID: 7, GID: 2000}, 2},
		{"by a supplementary group", attach.Peer{UID: 7, GID: 9, Groups: []uint32{8, 3000}}, 2},
		{"by number, and in an earlier rule's group", attach.Peer{UID: 1001, GID: 2000}, 2},
		{"by number", attach.Peer{UID: 1001, GID: 9}, 3},
		{"by the group of a rule with users", attach.Peer{UID: 7, GID: 2001}, 3},
		{"a number that is a group's", attach.Peer{UID: 2000, GID: 1000}, 0},
		{"root, whom no rule names", attach.Peer{}, 0},
		{"this user, whom no rule names", attach.Peer{UID: uint32(os.Geteuid())}, 0},
	} {
		g, err := c.Grant(tt.peer)
		switch {
		case g.MaxSockets != tt.want || (err == nil) != (tt.want > 0):
			t.Errorf("%s: %d sockets, %v: want %d", tt.name, g.MaxSockets, err, tt.want)
		case err != nil && (!errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "ask who runs this rxring")):
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestWithoutRulesThisUserAndRootGetEverything(t *testing.T) {
	own := uint32(os.Geteuid())
	c := Default()
	for _, uid := range []uint32{own, 0} {
		if g, err := c.Grant(attach.Peer{UID: uid}); err != nil || g.Socket.NoSend || g.Socket.Devices != nil || g.Socket.Filter != nil || !g.AllStatus {
			t.Errorf("user %d: %+v, %v", uid, g, err)
		}
	}
	if g, err := c.Grant(attach.Peer{UID: own + 1, GID: own}); !errors.Is(err, syscall.EACCES) {
		t.Errorf("another: %+v, %v", g, err)
	}
}

func TestARuleSaysWhichDevicesThereAre(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	shown := func(c *Config) (names []string) {
		g, err := c.Grant(attach.Peer{UID: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ns.Devices() {
			if g.Socket.Devices == nil || g.Socket.Devices(d) {
				names = append(names, d.Name())
			}
		}
		return names
	}
	for _, name := range []string{"eth0", "eth10", "wg0", "wg-home", "net0"} {
		if _, err := ns.AddDevice(rxring.DeviceConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for devices, want := range map[string]string{
		``:                             "eth0 eth10 wg0 wg-home net0",
		`devices = ["eth0"]`:           "eth0",
		`devices = ["eth?", "wg*"]`:    "eth0 wg0 wg-home",
		`devices = ["*[0-9]"]`:         "eth0 eth10 wg0 net0",
		`devices = ["tun0", "eth"]`:    "",
		`devices = ["e*", "*", "net"]`: "eth0 eth10 wg0 wg-home net0",
	} {
		c := mustParse(t, "[[allow]]\nusers = [\"alice\"]\n"+devices)
		if got := strings.Join(shown(c), " "); got != want {
			t.Errorf("%s: %s, want %s", devices, got, want)
		}
	}
}

func TestHeadersOfThePacketsThatAFilterSelects(t *testing.T) {
	// IPv4 alone, of which 96 bytes; nothing else.
	const ip4 = "filter_ddd = \"4,40 0 0 12,21 0 1 2048,6 0 0 %,6 0 0 0\"\n"
	for _, tt := range []struct {
		name, rule string
		ip4, ip6   uint32
		snaplen    int
	}{
		{"neither", "", 0, 0, 0},
		{"headers", "snaplen = \"headers\"\n", 14 + 20 + 8, 14 + 40 + 8, headersSnaplen},
		{"a filter", strings.Replace(ip4, "%", "96", 1), 96, 0, 0},
		{"both", "snaplen = \"headers\"\n" + strings.Replace(ip4, "%", "96", 1), 14 + 20 + 8, 0, 96},
		{"both, of which the filter lets less through", "snaplen = \"headers\"\n" + strings.Replace(ip4, "%", "20", 1), 14 + 20 + 8, 0, 20},
		{"a filter and a number", "snaplen = 40\n" + strings.Replace(ip4, "%", "96", 1), 96, 0, 40},
	} {
		c := mustParse(t, "[[allow]]\nusers = [\"*\"]\n"+tt.rule)
		g, err := c.Grant(attach.Peer{})
		if err != nil {
			t.Fatal(err)
		}
		if g.Socket.Snaplen != tt.snaplen {
			t.Errorf("%s: snaplen %d, want %d", tt.name, g.Socket.Snaplen, tt.snaplen)
		}
		if g.Socket.Filter == nil {
			if tt.ip4 != 0 {
				t.Errorf("%s: no filter", tt.name)
			}
			continue
		}
		f, err := cbpf.Compile(g.Socket.Filter)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		four, six := udpPackets(t)
		if a, b := f.Run(four), f.Run(six); a != tt.ip4 || b != tt.ip6 {
			t.Errorf("%s: %d and %d bytes, want %d and %d", tt.name, a, b, tt.ip4, tt.ip6)
		}
	}
}

func TestASocketThatKeepsOutWhomRulesNameIsWarnedOf(t *testing.T) {
	for text, want := range map[string]bool{
		"":                               true,
		"[[allow]]\nusers = [\"alice\"]": false,
		"[[allow]]\nusers = [\"root\"]":  true,
		"[[allow]]\nusers = [\"*\"]":     false,
		"[[allow]]\ngroups = [\"pcap\"]": false,
		"mode = \"0660\"\n[[allow]]\ngroups = [\"pcap\"]":   true,
		"mode = \"0606\"\n[[allow]]\nusers = [\"alice\"]":   true,
		"mode = \"0644\"\n[[allow]]\nusers = [\"alice\"]\n": false,
	} {
		if got := mustParse(t, text).reachable(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
