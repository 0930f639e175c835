package hub

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/explain"
)

// LeafConfig configures a leaf node. URL, Store and Name must be set.
type LeafConfig struct {
	URL   string // of a hub's address for leaf nodes, such as nats://hub:7422
	Store string // directory of JetStream

	// Name is the leaf node's, unique among those of the hub. It is the domain of its
	// JetStream, too.
	Name string

	Creds string // file of credentials of a host, such as ship.creds of Init; "": none
	CA    string // PEM file of authorities that sign the hub's certificate; "": the system's
}

// Leaf is a server in this process that is a leaf node of a hub. It listens at no address: clients
// are in this process (nats.InProcessServer). What is published to it crosses the network only if
// a client of the hub has subscribed. It works, and records, also while the hub is away.
type Leaf struct{ server running }

// linkWait is the time between attempts to connect to the hub.
const linkWait = time.Second

// StartLeaf starts a leaf node. It does not wait for the hub.
func StartLeaf(c LeafConfig) (*Leaf, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || u.Path != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("hub: leaf %q: want the hub's address for leaf nodes, such as nats://hub:7422", c.URL)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), fmt.Sprint(server.DEFAULT_LEAFNODE_PORT))
	}
	if c.Store == "" || c.Name == "" {
		return nil, fmt.Errorf("hub: leaf with Store %q and Name %q: want both", c.Store, c.Name)
	}
	o := &server.Options{
		ServerName:          c.Name,
		DontListen:          true,
		NoFastProducerStall: true,
		NoLog:               true,
		NoSigs:              true,
		JetStream:           true,
		JetStreamDomain:     c.Name,
		StoreDir:            c.Store,
	}
	remote, err := c.remote(u)
	if err != nil {
		return nil, fmt.Errorf("hub: leaf: %w", err)
	}
	o.LeafNode.Remotes = []*server.RemoteLeafOpts{remote}
	o.LeafNode.ReconnectInterval = linkWait
	s, err := start(o)
	if err != nil {
		return nil, fmt.Errorf("hub: leaf: %w", err)
	}
	return &Leaf{s}, nil
}

// remote describes the connection to the hub: encrypted if it authenticates, unless the hub is at
// a loopback address.
func (c *LeafConfig) remote(u *url.URL) (*server.RemoteLeafOpts, error) {
	r := &server.RemoteLeafOpts{URLs: []*url.URL{u}, Credentials: c.Creds}
	if _, err := (fleet.Access{Creds: c.Creds, CA: c.CA}).Options(); err != nil {
		return nil, err // the server would retry for ever
	}
	if err := c.checkUser(); err != nil {
		return nil, err
	}
	if u.Scheme == "tls" || c.CA != "" || c.Creds != "" && !loopback(u.Hostname()) {
		r.TLS, r.TLSConfig = true, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		u.Scheme = "tls"
	}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		r.TLSConfig.RootCAs = x509.NewCertPool()
		r.TLSConfig.RootCAs.AppendCertsFromPEM(text)
	}
	return r, nil
}

// checkUser returns an error if the credentials are of another host: the hub would not forward
// requests to this one.
func (c *LeafConfig) checkUser() error {
	if c.Creds == "" {
		return nil
	}
	text, err := os.ReadFile(c.Creds)
	if err != nil {
		return err
	}
	token, err := nkeys.ParseDecoratedJWT(text)
	if err != nil {
		return err
	}
	user, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return fmt.Errorf("creds %q: %w", c.Creds, err)
	}
	requests := "$JS." + c.Name + ".API.>"
	if allow := user.Sub.Allow; len(allow) > 0 && !slices.ContainsFunc(allow, func(s string) bool { return server.SubjectsCollide(s, requests) }) {
		return explain.Errorf(syscall.EACCES, "creds %q: user %s may not subscribe to %s: want the name that the credentials are for, or those of this host, as `rxring hub --init DIR --host NAME` makes them", c.Creds, user.Name, requests)
	}
	return nil
}

// InProcessConn implements nats.InProcessConnProvider.
func (l *Leaf) InProcessConn() (net.Conn, error) { return l.server.InProcessConn() }

// Linked waits until the leaf node is connected to the hub, for d at most, and reports whether it
// is.
func (l *Leaf) Linked(d time.Duration) bool {
	for start := time.Now(); l.server.NumLeafNodes() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) >= d {
			return false
		}
	}
	return true
}

// Close ends the server, and returns once all is stored.
func (l *Leaf) Close() {
	l.server.stop()
}
