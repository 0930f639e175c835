package suggest

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

func TestClosest(t *testing.T) {
	words := []string{"streams", "iface", "file", "at"}
	for text, want := range map[string]string{
		"stream":         "streams",
		"flie":           "file",
		"fiel":           "file",
		"FILE":           "",
		"ifcae":          "iface",
		"interface":      "",
		"a":              "at",
		"ta":             "at",
		"xy":             "",
		"":               "",
		"carrier-pigeon": "",
		"file":           "file",
	} {
		if got, ok := Closest(text, words); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, ok, want)
		}
	}
}

func TestAmongListsAFewAndCountsTheRest(t *testing.T) {
	for _, c := range []struct{ text, words, want string }{
		{"eth1", "", "there is none"},
		{"eth1", "eth0", "there is eth0"},
		{"eth1", "lo eth0", "did you mean eth0? there are lo and eth0"},
		{"wlan0", "lo eth0 wg0 wg1", "there are lo, eth0, wg0 and wg1"},
		{"eth1", "lo a b c d e eth0", "did you mean eth0? there are lo, a, b, c and 3 more"},
	} {
		if got := Among(c.text, strings.Fields(c.words)); got != c.want {
			t.Errorf("%s of %q: %q, want %q", c.text, c.words, got, c.want)
		}
	}
}

func TestNoInterfaceNamesThoseOfTheSystem(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		need.Skip(t, need.System, "no network interfaces: %v", err)
	}
	err = NoInterface("no-such-if0", syscall.ENODEV)
	if !errors.Is(err, syscall.ENODEV) || !strings.HasPrefix(err.Error(), "there is no such interface: there ") || !strings.Contains(err.Error(), all[0].Name) {
		t.Errorf("%v", err)
	}
	if err := NoInterface("longer-than-15-bytes", syscall.EINVAL); !errors.Is(err, syscall.EINVAL) || err.Error() != "want a name of 1 to 15 bytes" {
		t.Errorf("%v", err)
	}
	if err := NoInterface("eth0", syscall.EMFILE); err != syscall.EMFILE {
		t.Errorf("an error that is not the name's: %v", err)
	}
}
