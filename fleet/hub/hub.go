// Package hub embeds a NATS server for a fleet, with the settings that package fleet wants.
//
// The one invariant: a reader that is slow costs the shippers and the other readers nothing. The
// server drops its messages (no_fast_producer_stall), which the reader counts as lost in transit,
// and does not delay whoever publishes them.
package hub

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// DefaultAddress is where a hub listens.
const DefaultAddress = "127.0.0.1:4222"

// Config configures a hub. The zero value listens at DefaultAddress, for this machine.
type Config struct {
	Listen string // HOST:PORT; "": DefaultAddress
	Leaf   string // HOST:PORT for leaf nodes; "": none
	Store  string // directory of JetStream; "": no JetStream

	TLSCert, TLSKey string // PEM files of the server's certificate and its key; "": no TLS
	Auth            string // directory of Init, whose users alone may connect; "": everyone may

	// Public allows addresses that are not loopback ones although TLSCert or Auth is not set:
	// everyone on the way, or everyone who can connect, receives the packets.
	Public bool
}

// startTime bounds the start of the server.
const startTime = 10 * time.Second

// Hub is a running server.
type Hub struct {
	server running
	leaf   string // URL for leaf nodes; "": none
}

// Start starts a server and returns once it accepts connections.
func Start(c Config) (*Hub, error) {
	o := &server.Options{
		ServerName:          "rxring-hub",
		NoFastProducerStall: true,
		NoLog:               true,
		NoSigs:              true,
		JetStream:           c.Store != "",
		StoreDir:            c.Store,
	}
	if c.Listen == "" {
		c.Listen = DefaultAddress
	}
	var err error
	if o.Host, o.Port, err = c.address("Listen", c.Listen); err != nil {
		return nil, err
	}
	if c.Leaf != "" {
		if o.LeafNode.Host, o.LeafNode.Port, err = c.address("Leaf", c.Leaf); err != nil {
			return nil, err
		}
	}
	if err := c.protect(o); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	// The server only logs that it cannot listen: find out here.
	for _, a := range []struct {
		host string
		port int
	}{{o.Host, o.Port}, {o.LeafNode.Host, o.LeafNode.Port}} {
		if a.port <= 0 {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(a.host, strconv.Itoa(a.port)))
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		l.Close()
	}
	s, err := start(o)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	h := &Hub{server: s}
	if c.Leaf != "" {
		scheme := "nats://"
		if c.TLSCert != "" {
			scheme = "tls://"
		}
		h.leaf = scheme + net.JoinHostPort(o.LeafNode.Host, strconv.Itoa(o.LeafNode.Port)) // the server has set it
	}
	return h, nil
}

// address parses HOST:PORT.
func (c *Config) address(what, text string) (host string, port int, err error) {
	host, service, err := net.SplitHostPort(text)
	if err == nil {
		port, err = strconv.Atoi(service)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("hub: %s %q: want HOST:PORT, such as %s", what, text, DefaultAddress)
	}
	switch private := c.Public || loopback(host); {
	case !private && c.TLSCert == "":
		return "", 0, fmt.Errorf("hub: %s %q: everyone on the way could read the packets: want --tls-cert and --tls-key, or a loopback address, such as %s, or --public", what, text, DefaultAddress)
	case !private && c.Auth == "":
		return "", 0, fmt.Errorf("hub: %s %q: everyone who can connect could read the packets: want --auth, or a loopback address, such as %s, or --public", what, text, DefaultAddress)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// protect sets TLS and users.
func (c *Config) protect(o *server.Options) error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("--tls-cert %q, --tls-key %q: want both, or neither", c.TLSCert, c.TLSKey)
	}
	if c.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return fmt.Errorf("--tls-cert %q, --tls-key %q: %w: want PEM files of a certificate and of its key", c.TLSCert, c.TLSKey, err)
		}
		t := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		o.TLS, o.TLSConfig = true, t
		o.LeafNode.TLSConfig = t.Clone()
	}
	if c.Auth != "" {
		return trust(o, c.Auth)
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// URL is where clients connect to.
func (h *Hub) URL() string { return h.server.ClientURL() }

// LeafURL is where leaf nodes connect to; "" without Config.Leaf.
func (h *Hub) LeafURL() string { return h.leaf }

// Done returns a channel that is closed once the server has ended.
func (h *Hub) Done() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		h.server.WaitForShutdown()
		close(done)
	}()
	return done
}

// Close ends the server, and returns once all its connections are closed.
func (h *Hub) Close() {
	h.server.stop()
}
