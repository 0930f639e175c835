package dump

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/stream"
)

// tcpScheme starts a Config.File that is an address to serve, as PCAP-over-IP: each client that connects
// receives a pcapng stream.
const tcpScheme = "tcp:"

// maxClients bounds the memory of all clients' queues.
const maxClients = 16

// statsInterval is the least time between reports of drops to a client while packets arrive.
const statsInterval = 500 * time.Millisecond

// checkTCP returns an error if file is an address that cannot be served.
func checkTCP(file string, public bool) error {
	address, ok := strings.CutPrefix(file, tcpScheme)
	if !ok {
		if public {
			return fmt.Errorf("--public: want -w tcp:HOST:PORT with it")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return fmt.Errorf("-w %s: want tcp:HOST:PORT, such as tcp:127.0.0.1:57012; ./%s is a file", file, file)
	}
	if !public && host == "" {
		return notLoopback(file)
	}
	return nil
}

func notLoopback(file string) error {
	return fmt.Errorf("-w %s: want a loopback address, such as tcp:127.0.0.1:57012, or --public with it: whoever can connect receives the packets, unencrypted", file)
}

// tcpOutput sends packets to clients that connect. Each has a queue, so that a slow one loses
// packets of its own only.
type tcpOutput struct {
	listener net.Listener
	stall    time.Duration // stallTime
	describe func(*device) capfile.Interface
	stats    func() capture.Stats
	print    func(format string, args ...any)
	first    chan struct{} // closed when a client has connected
	wg       sync.WaitGroup

	mu         sync.Mutex
	encoder    *capfile.Writer
	encoded    bytes.Buffer // what encoder has written since takeLocked
	header     []byte       // the section, what it has besides packets, and its interfaces
	extras     *capfile.ExtraCursor
	ids        map[*device]int
	clients    map[*client]bool
	began      bool // a client has connected
	closed     bool
	lastReport time.Time // of drops
}

// newTCPOutput listens, and returns once a client has connected or ctx has ended.
func newTCPOutput(ctx context.Context, d *dumper, stderr *os.File) (*tcpOutput, error) {
	l, err := net.Listen("tcp", strings.TrimPrefix(d.File, tcpScheme))
	if err != nil {
		return nil, fmt.Errorf("-w %s: %w", d.File, err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !d.Public {
		l.Close()
		return nil, &UsageError{notLoopback(d.File)}
	}
	t := &tcpOutput{
		listener: l,
		stall:    stallTime,
		describe: d.describe,
		stats: func() capture.Stats {
			s, _ := d.in.Handle.Stats() // with an error, the last known
			return s
		},
		print: func(format string, args ...any) {
			if !d.Quiet {
				fmt.Fprintf(printable.Writer(stderr), "rxring: "+format+"\n", args...)
			}
		},
		first:   make(chan struct{}),
		clients: make(map[*client]bool),
		ids:     make(map[*device]int),
		extras:  capfile.NewExtraCursor(d.in.Extras),
	}
	extra, _ := t.extras.Next()
	if t.encoder, err = capfile.NewWriter(&t.encoded, capfile.Section{OS: runtime.GOOS, Application: "rxring dump " + d.Version, Comments: extra.Comments}); err == nil {
		err = t.encoder.WriteExtra(extra)
	}
	if err == nil {
		t.header = bytes.Clone(t.takeLocked())
		err = t.addNamed(d.in)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	t.print("waiting for a client: wireshark -k -i TCP@%v reads the packets", l.Addr())
	t.wg.Go(t.accept)
	select {
	case <-t.first:
	case <-ctx.Done():
	}
	return t, nil
}

// addNamed describes the devices that were named.
func (t *tcpOutput) addNamed(in *Input) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range in.named() {
		if _, err := t.interfaceOfLocked(d); err != nil {
			return err
		}
	}
	return nil
}

// interfaceOfLocked returns a device's number in the stream, which it describes to all clients
// before its first packet.
func (t *tcpOutput) interfaceOfLocked(d *device) (int, error) {
	if id, ok := t.ids[d]; ok {
		return id, nil
	}
	id, err := t.encoder.AddInterface(t.describe(d))
	if err != nil {
		return 0, err
	}
	t.ids[d] = id
	t.sendToAllLocked()
	return id, nil
}

// sendToAllLocked sends what was encoded to all clients, also to those that connect later.
func (t *tcpOutput) sendToAllLocked() {
	block := t.takeLocked()
	t.header = append(t.header, block...)
	for c := range t.clients {
		c.queue(block)
	}
}

// addExtrasLocked sends what the sources have read besides packets. [capfile.MaxExtras] bounds it
// for each source.
func (t *tcpOutput) addExtrasLocked() error {
	e, more := t.extras.Next()
	if !more {
		return nil
	}
	if err := t.encoder.WriteExtra(e); err != nil {
		return err
	}
	t.sendToAllLocked()
	return nil
}

// takeLocked returns the blocks that were encoded since the last call, valid until another one is
// encoded.
func (t *tcpOutput) takeLocked() []byte {
	t.encoder.Flush() // to memory, as some of a long block was before
	defer t.encoded.Reset()
	return t.encoded.Bytes()
}

// accept accepts clients until the listener is closed.
func (t *tcpOutput) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			if t.isClosed() {
				return
			}
			time.Sleep(100 * time.Millisecond) // no descriptors are left, perhaps
			continue
		}
		t.add(conn)
	}
}

func (t *tcpOutput) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// add begins to send to a client.
func (t *tcpOutput) add(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.clients) == maxClients {
		t.print("%v: refused: there are %d clients already", conn.RemoteAddr(), len(t.clients))
		refuse(conn, len(t.clients))
		return
	}
	c := newClient(conn, t.stall, t.header, t.stats().Drops)
	t.clients[c] = true
	t.print("%v: connected", conn.RemoteAddr())
	t.wg.Go(func() {
		c.send()
		t.remove(c)
	})
	t.wg.Go(func() { t.watch(c) })
	if !t.began {
		t.began = true
		close(t.first)
	}
}

// probeInterval is the time between reports to a client that sends nothing any more: only a Write
// shows whether it has also stopped receiving. Tests change it.
var probeInterval = 5 * time.Second

// watch returns once the client has left. Without packets no Write would fail, and clients that
// have left would keep others out.
func (t *tcpOutput) watch(c *client) {
	if c.discard() != nil {
		c.finish()
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.left:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		if !t.closed && c.hasRoom() {
			c.reported = c.dropsSince(t.stats().Drops)
			t.queueStatsLocked(c, c.reported)
		}
		t.mu.Unlock()
	}
}

// refuse tells a client why it is not served, in place of a stream. The line fits in the kernel's
// buffer.
func refuse(conn net.Conn, clients int) {
	fmt.Fprintf(conn, "%sthere are %d clients already: try again later\n", stream.ErrorPrefix, clients)
	conn.Close()
}

// remove forgets a client that has left.
func (t *tcpOutput) remove(c *client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.clients, c)
	text := ""
	if c.dropped > 0 {
		text = ": its queue was full"
	}
	t.print("%v: disconnected: %d packets sent, %d dropped%s", c.conn.RemoteAddr(), c.queued, c.dropped, text)
}

func (t *tcpOutput) write(p *packet) error {
	direction := capfile.Inbound
	if p.outgoing {
		direction = capfile.Outbound
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.addExtrasLocked(); err != nil {
		return err
	}
	id, err := t.interfaceOfLocked(p.device)
	if err != nil {
		return err
	}
	if err := t.encoder.WriteCommented(id, max(p.time, 0), p.len, p.data, direction, p.comment); err != nil {
		return err
	}
	block := t.takeLocked()
	for c := range t.clients {
		c.queuePacket(block)
	}
	if now := time.Now(); now.Sub(t.lastReport) >= statsInterval {
		t.lastReport = now
		t.reportDropsLocked(t.stats().Drops)
	}
	return nil
}

// reportDropsLocked sends each client the number of packets that were dropped since it
// connected, on the way to this process or to the client, if it has changed.
func (t *tcpOutput) reportDropsLocked(drops uint64) {
	for c := range t.clients {
		if n := c.dropsSince(drops); n != c.reported && c.hasRoom() {
			c.reported = n
			t.queueStatsLocked(c, n)
		}
	}
}

// queueStatsLocked queues the counts of all interfaces, as those of the first one.
func (t *tcpOutput) queueStatsLocked(c *client, dropped uint64) {
	if len(t.ids) == 0 {
		return // and so no packets
	}
	comment := ""
	if len(t.ids) > 1 {
		comment = fmt.Sprintf("of all %d interfaces", len(t.ids))
	}
	now := time.Now().UnixNano()
	received := c.queued + dropped
	t.encoder.WriteStats(0, capfile.Stats{Time: now, Start: c.since.UnixNano(), End: now, Received: &received, Dropped: &dropped, Delivered: &c.queued, Comment: comment})
	c.queue(t.takeLocked())
}

func (t *tcpOutput) idle() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reportDropsLocked(t.stats().Drops)
	return t.addExtrasLocked()
}

func (t *tcpOutput) due() time.Time { return time.Time{} }

func (t *tcpOutput) tick() error { return nil }

func (t *tcpOutput) files() int { return 0 }

// close sends what is queued, with the last counts, and disconnects the clients.
func (t *tcpOutput) close(last capture.Stats) error {
	t.mu.Lock()
	t.closed = true
	err := t.addExtrasLocked()
	for c := range t.clients {
		t.queueStatsLocked(c, c.dropsSince(last.Drops))
		c.finish()
	}
	t.mu.Unlock()
	t.listener.Close()
	t.wg.Wait()
	return err
}
