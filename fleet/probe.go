package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// What a probe costs: the server copies each message once for each subscription.
const (
	probeTime    = time.Second
	probeMessage = 16 << 10  // bytes of a message
	probeCopies  = 64        // subscriptions
	probeLimit   = 128 << 20 // bytes of all copies; a server's max_pending is 64 MiB by default
)

// A server delays a publisher by 10 ms for each read of its connection (stallTotalAllowed), once
// three quarters of a slow subscriber's max_pending are used.
const (
	probeDelay = 8 * time.Millisecond // beside the usual round trip
	probeSlow  = 8                    // delays in a row, half of those of 16 MiB
)

// DelaysPublishers reports whether the server of nc delays a publisher while a subscriber is slow,
// as servers without no_fast_producer_stall do: there, one slow reader costs other readers packets.
//
// It publishes on nc to a connection of its own that does not receive. This lasts a second at
// most, delays nc only, and sends 2 MiB at most. Meanwhile the server keeps three quarters of its
// max_pending, 48 MiB by default, for the connection. The user of nc must be allowed to publish to
// its own inbox. An error says why the answer is not known. A busy machine can look like a server
// that delays: ask again before you act on it.
func DelaysPublishers(ctx context.Context, nc *nats.Conn) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	p, err := newProbe(ctx, nc)
	if err == nil {
		defer p.close()
		var delays bool
		if delays, err = p.run(ctx); err == nil {
			return delays, nil
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		err = fmt.Errorf("not known: the server did not receive enough within %v", probeTime)
	}
	return false, fmt.Errorf("fleet: probe: %w", err)
}

// probe is a subscriber that does not receive.
type probe struct {
	nc      *nats.Conn // publishes
	slow    *nats.Conn // subscribes
	dialer  pausedDialer
	subject string
	none    chan *nats.Msg // receives a message when the subscriber gets no more
	answers *nats.Subscription
}

func newProbe(ctx context.Context, nc *nats.Conn) (*probe, error) {
	p := &probe{nc: nc, subject: nc.NewRespInbox(), none: make(chan *nats.Msg, probeLimit/probeMessage)}
	o := nc.Opts
	o.Servers, o.Url, o.Name = nil, nc.ConnectedUrl(), "rxring probe"
	o.AllowReconnect, o.IgnoreDiscoveredServers = false, true
	o.CustomDialer = &p.dialer
	o.ConnectedCB, o.DisconnectedErrCB, o.ReconnectedCB, o.ClosedCB = nil, nil, nil, nil
	o.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {}
	var err error
	if p.slow, err = o.Connect(); err != nil {
		return nil, err
	}
	if err := p.subscribe(ctx); err != nil {
		p.close()
		return nil, err
	}
	p.dialer.pause()
	return p, nil
}

func (p *probe) subscribe(ctx context.Context) (err error) {
	if p.slow.ConnectedServerId() != p.nc.ConnectedServerId() {
		return fmt.Errorf("%s leads to several servers: want the address of one of them", p.nc.ConnectedUrlRedacted())
	}
	for range probeCopies {
		if _, err := p.slow.SubscribeSync(p.subject); err != nil {
			return err
		}
	}
	if p.answers, err = p.nc.ChanSubscribe(p.nc.NewRespInbox(), p.none); err != nil {
		return err
	}
	return p.slow.FlushWithContext(ctx)
}

func (p *probe) close() {
	p.slow.Close()
	if p.answers != nil {
		p.answers.Unsubscribe()
	}
}

// run publishes until the server delays that, or no longer sends it to the subscriber: then it has
// dropped messages, or closed the connection because more than max_pending were kept for it, which
// it delays before.
func (p *probe) run(ctx context.Context) (delays bool, err error) {
	var times []time.Duration // that publishing took before, sorted
	slow, busy := 0, false
	for range probeLimit / (probeMessage * probeCopies) {
		took, err := p.publish(ctx)
		if err != nil {
			return false, err
		}
		dropped := len(p.none) > 0 // 503, no responders
		shortest, usual := took, took
		if len(times) > 0 {
			shortest, usual = times[0], times[len(times)/2]
		}
		switch {
		case dropped && (slow > 0 || busy):
			return false, fmt.Errorf("not known: the server, the network or this machine was busy, or max_pending is small")
		case dropped:
			return false, nil
		case took < usual+probeDelay:
			slow = 0
		case p.busy(ctx, shortest):
			busy = true
		default:
			slow++
		}
		if slow == probeSlow {
			return true, nil
		}
		at, _ := slices.BinarySearch(times, took)
		times = slices.Insert(times, at, took)
	}
	return false, fmt.Errorf("not known: the server keeps more than %d MiB for a slow subscriber", probeLimit>>20)
}

// busy reports whether the server, the network or this machine delays a round trip that publishes
// nothing, too.
func (p *probe) busy(ctx context.Context, shortest time.Duration) bool {
	begin := time.Now()
	return p.nc.FlushWithContext(ctx) == nil && time.Since(begin) >= shortest+probeDelay/2
}

// publish publishes a message, and returns the time in which the server has received and copied it.
func (p *probe) publish(ctx context.Context) (took time.Duration, err error) {
	begin := time.Now()
	if err := p.nc.PublishMsg(&nats.Msg{Subject: p.subject, Reply: p.answers.Subject, Data: make([]byte, probeMessage)}); err != nil {
		return 0, err
	}
	err = p.nc.FlushWithContext(ctx)
	took = time.Since(begin)
	if denied := p.nc.LastError(); errors.Is(denied, nats.ErrPermissionViolation) {
		return 0, fmt.Errorf("%w: the probe publishes to the user's own inbox", denied)
	}
	return took, err
}

// pausedDialer dials connections that stop receiving.
type pausedDialer struct {
	mu    sync.Mutex
	conns []*pausedConn
}

// Dial implements [nats.CustomDialer].
func (d *pausedDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, probeTime)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &pausedConn{Conn: c, done: make(chan struct{})}
	d.conns = append(d.conns, p)
	return p, nil
}

func (d *pausedDialer) pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		c.paused.Store(true)
	}
}

// pausedConn is a connection that receives nothing once it is paused.
type pausedConn struct {
	net.Conn
	paused atomic.Bool
	once   sync.Once
	done   chan struct{} // closed by Close
}

func (c *pausedConn) Read(b []byte) (int, error) {
	if c.paused.Load() {
		<-c.done
		return 0, net.ErrClosed
	}
	return c.Conn.Read(b)
}

func (c *pausedConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}
