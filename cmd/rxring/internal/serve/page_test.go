package serve

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

// parsePageRules parses rules; own is replaced by this process's user.
func parsePageRules(t *testing.T, rules string) *Config {
	t.Helper()
	rules = strings.ReplaceAll(rules, "own", fmt.Sprint(os.Geteuid()))
	c, err := Parse("rules", []byte(rules), Resolver{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The page is granted what the first rule with page = true allows, else what this user is.
func TestGrantOfThePage(t *testing.T) {
	for _, story := range []struct {
		name, rules string
		snaplen     int // of the page's grant; -1: it is refused
		all         bool
	}{
		{"without rules", "", 0, true},
		{"a rule for the page", "[[allow]]\nusers = [own]\n[[allow]]\npage = true\nsnaplen = 60\n[[allow]]\npage = true\nsnaplen = 70", 60, false},
		{"headers", "[[allow]]\npage = true\nsnaplen = \"headers\"", headersSnaplen, false},
		{"a rule for this user", "[[allow]]\nusers = [own]\nsnaplen = 50\nstatus = \"all\"", 50, true},
		{"page = false", "[[allow]]\nusers = [own]\npage = false", 0, false},
		{"rules for others", "[[allow]]\nusers = [4711]", -1, false},
	} {
		c := parsePageRules(t, story.rules)
		g, err := newPageLimits().pageGrantOfBoth(c, nil)
		if story.snaplen < 0 {
			if !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "want page = true in an [[allow]]") {
				t.Errorf("%s: %v", story.name, err)
			}
			continue
		}
		if err != nil || g.Socket.Snaplen != story.snaplen || g.AllStatus != story.all || !g.Socket.NoSend || g.Socket.Budget == nil || g.Socket.Account == nil {
			t.Errorf("%s: %+v, %v", story.name, g, err)
		}
	}
}

// A rule for the page alone allows no process.
func TestRuleOfThePageAllowsNoPeer(t *testing.T) {
	c := parsePageRules(t, "[[allow]]\npage = true")
	if _, err := c.Grant(attach.Peer{UID: uint32(os.Geteuid())}); !errors.Is(err, syscall.EACCES) {
		t.Error(err)
	}
}

// While a reload is prepared, the page has what the old and the new rules both grant.
func TestGrantOfThePageDuringAReload(t *testing.T) {
	now := parsePageRules(t, "[[allow]]\npage = true\nsnaplen = 60\nmax_memory = \"8MiB\"")
	next := parsePageRules(t, "[[allow]]\npage = true\nsnaplen = 90\ndevices = [\"wg0\"]\nmax_memory = \"64MiB\"")
	g, err := newPageLimits().pageGrantOfBoth(now, next)
	if err != nil || g.Socket.Snaplen != 60 || g.MaxMemory != 8<<20 {
		t.Errorf("%+v, %v", g, err)
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for name, want := range map[string]bool{"wg0": true, "eth0": false} {
		d, err := ns.AddDevice(rxring.DeviceConfig{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if g.Socket.Devices(d) != want {
			t.Errorf("%s: granted %v", name, !want)
		}
	}
	if _, err := newPageLimits().pageGrantOfBoth(now, parsePageRules(t, "[[allow]]\nusers = [4711]")); !errors.Is(err, syscall.EACCES) {
		t.Error(err)
	}
}
