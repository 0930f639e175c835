package fleet

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring/internal/explain"
)

// reconnectWait is the time between attempts to reconnect, plus up to as much again.
const reconnectWait = 250 * time.Millisecond

// Dial connects to a NATS server or cluster, such as nats://hub:4222, or tls://hub:4222 to require
// TLS. The connection reconnects for ever, and while it is not connected a message is refused at
// once instead of kept: the shipper counts it. Options, such as those of [Access], are added to these.
//
// Whoever authenticates to a server that is not at a loopback address, by options or in the URL,
// gets TLS or an error. A server that everyone may use is used without, if it has none.
//
// [Ship] and [NewReader] work with any connection, but count what a connection keeps and then
// loses only when the other side has told so.
func Dial(url string, options ...nats.Option) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	for s := range strings.SplitSeq(url, ",") {
		o.Servers = append(o.Servers, strings.TrimSpace(s))
	}
	for _, set := range append([]nats.Option{
		nats.Name("rxring"),
		nats.SetCustomDialer(&dialer{Dialer: net.Dialer{Timeout: nats.DefaultTimeout}}),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the default prints; callers report what fails
	}, options...) {
		if err := set(&o); err != nil {
			return nil, fmt.Errorf("%s: %w", url, err)
		}
	}
	o.Secure = o.Secure || needsTLS(&o)
	nc, err := o.Connect()
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return nil, fmt.Errorf("%s: no NATS server answers there: `rxring hub` runs one: %w", url, err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return nil, fmt.Errorf("%s: the server has no TLS: want one, since this user authenticates to it (rxring hub --tls-cert FILE --tls-key FILE): %w", url, err)
	case errors.Is(err, nats.ErrAuthorization) && !authenticates(&o):
		return nil, explain.Errorf(syscall.EACCES, "%s: the server wants to know who this is: want credentials of `rxring hub --init`, such as read.creds, or ship-HOST.creds for a host: %w", url, err)
	case errors.Is(err, nats.ErrAuthorization):
		return nil, explain.Errorf(syscall.EACCES, "%s: the server does not accept these credentials: want those that its operator has made: %w", url, err)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return nil, fmt.Errorf("%s: no known authority signed the server's certificate: want its PEM file, by --ca, ca= in the URL, or NATS_CA: %w", url, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return nc, nil
}

// dialer connects to servers, and can end the newest connection. A write to a server that does not
// receive holds nats.Conn's lock for up to a minute, so that its Close waits, too.
type dialer struct {
	net.Dialer
	mu   sync.Mutex
	conn net.Conn    // the newest; nil: none yet
	end  *time.Timer // of hangUpAfter; nil: none
	away bool        // it was ended: until resume there is no other
}

// Dial makes a *dialer a nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	away := d.away
	d.mu.Unlock()
	if away {
		return nil, nats.ErrConnectionClosed
	}
	c, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = c
	return c, nil
}

// hangUpAfter ends the connection after limit unless resume is called before. To connect to a server
// that is stopped holds the lock, too, so that waits for resume.
func (d *dialer) hangUpAfter(limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var end *time.Timer
	end = time.AfterFunc(limit, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.end != end {
			return
		}
		if d.away = true; d.conn != nil {
			d.conn.Close()
		}
	})
	d.end = end
}

func (d *dialer) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end != nil {
		d.end.Stop()
	}
	d.end, d.away = nil, false
}

// authenticates reports whether the options or URLs prove who the client is.
func authenticates(o *nats.Options) bool {
	if o.UserJWT != nil || o.Nkey != "" || o.User != "" || o.Token != "" || o.TokenHandler != nil || o.UserInfo != nil {
		return true
	}
	for _, u := range urls(o) {
		if u.User != nil {
			return true
		}
	}
	return false
}

// needsTLS reports whether the connection must be encrypted.
func needsTLS(o *nats.Options) bool {
	if !authenticates(o) {
		return false
	}
	for _, u := range urls(o) {
		a, err := netip.ParseAddr(u.Hostname())
		if !(u.Hostname() == "localhost" || err == nil && a.IsLoopback()) {
			return true
		}
	}
	return false
}

// urls returns the servers' URLs. One that cannot be parsed is refused when it is connected to.
func urls(o *nats.Options) (all []*url.URL) {
	for _, text := range o.Servers {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		if u, err := url.Parse(text); err == nil {
			all = append(all, u)
		}
	}
	return all
}
