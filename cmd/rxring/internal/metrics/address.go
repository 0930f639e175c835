package metrics

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is where metrics are served. The zero value: nowhere.
type Address struct {
	Network string // unix, tcp or "": nowhere
	Address string // a path, or a loopback address with a port
}

func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Address
	}
	return a.Address
}

// WantAddress is what ParseAddress accepts.
const WantAddress = `"unix:/run/rxring-metrics.sock", or a loopback address and port such as "127.0.0.1:9100"`

// ParseAddress parses the address of metrics. It must not be reachable from other machines: every
// process that can connect reads all metrics.
func ParseAddress(text string) (Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return Address{}, fmt.Errorf("%q: want a path that starts at /, as %s", text, WantAddress)
		}
		return Address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, fmt.Errorf("%q: want %s", text, WantAddress)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return Address{}, fmt.Errorf("%q: other machines may reach it: want %s", text, WantAddress)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("%q: port %q: want a number from 1 to 65535, or 0 for any that is free", text, port)
	}
	return Address{"tcp", net.JoinHostPort(ip.String(), port)}, nil
}
