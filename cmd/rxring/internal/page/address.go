package page

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is where a page listens.
type Address struct {
	Network string // unix or tcp; "": nowhere
	Path    string // of a unix socket
	Host    string // localhost, or an IP address
	Port    uint16 // 0: any
}

// Want describes the addresses that ParseAddress accepts.
const Want = "a loopback address and port such as 127.0.0.1:8080, unix:/PATH, or another address with a certificate (--http-cert, --http-key)"

// ParseAddress parses the value of --http. encrypted: there is a certificate.
func ParseAddress(text string, encrypted bool) (Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return Address{}, fmt.Errorf("%q: want a path that starts at /, such as unix:/run/rxring-page.sock", text)
		}
		if encrypted {
			return Address{}, fmt.Errorf("%q: a unix socket has no TLS: want it without --http-cert and --http-key", text)
		}
		return Address{Network: "unix", Path: path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, fmt.Errorf("%q: want %s", text, Want)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("%q: port %q: want 1 to 65535, or 0 for any", text, port)
	}
	a := Address{Network: "tcp", Host: host, Port: uint16(n)}
	if strings.EqualFold(host, "localhost") {
		a.Host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(a.Host); a.Host != "" && err != nil {
		return Address{}, fmt.Errorf("%q: %q is no IP address: want %s", text, host, Want)
	} else if !encrypted && !ip.IsLoopback() {
		return Address{}, fmt.Errorf("%q: other machines could read packets and the token in clear text: want %s", text, Want)
	}
	return a, nil
}

// listenAddress is the argument of net.Listen.
func (a Address) listenAddress() string { return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) }

// LoadCertificate loads the certificate of --http-cert and --http-key, nil if there is none.
func LoadCertificate(cert, key string) (*tls.Certificate, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "":
		return nil, fmt.Errorf("--http-key %s: want its certificate, too: --http-cert FILE", key)
	case key == "":
		return nil, fmt.Errorf("--http-cert %s: want its key, too: --http-key FILE", cert)
	}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--http-cert %s, --http-key %s: %w: want PEM files of a certificate and its key", cert, key, err)
	}
	return &c, nil
}
