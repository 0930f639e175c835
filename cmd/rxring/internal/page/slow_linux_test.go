package page_test

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
)

// A browser that receives nothing is disconnected, and costs another reader no packet.
func TestBrowserThatDoesNotReceive(t *testing.T) {
	need.Time(t, "it waits for a deadline of 10 s")
	s := newScene(t, attach.Grant{})
	u, _ := url.Parse(s.base)
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.(*net.TCPConn).SetReadBuffer(4096)
	cookie := s.client.Jar.Cookies(u)[0]
	fmt.Fprintf(c, "GET /packets/events?device=wg0 HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", u.Host, cookie)
	d := s.device("wg0")
	for end := time.Now().Add(20 * time.Second); !d.HasListeners(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no table was opened")
		}
	}
	h, err := capture.OpenDevice(d, capture.Config{Buffer: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	read := make(chan uint64)
	go func() {
		n := uint64(0)
		for range h.Packets(t.Context()) {
			n++
		}
		read <- n
	}()
	packet := rxring.Packet{Data: udp(t, 53, "x"), Timestamp: 1e9}
	sockets := func() int { return len(slices.Collect(d.Sockets())) }
	sent := uint64(0)
	for end := time.Now().Add(60 * time.Second); sockets() > 1; time.Sleep(10 * time.Millisecond) {
		for range 150 {
			d.Deliver(&packet)
			sent++
		}
		if time.Now().After(end) {
			t.Fatal("the browser is still connected")
		}
	}
	time.Sleep(100 * time.Millisecond) // the last block is retired
	st, err := h.Stats()
	h.Close()
	if n := <-read; err != nil || n != sent || st.Drops != 0 {
		t.Errorf("another reader has %d of %d packets, %d dropped: %v", n, sent, st.Drops, err)
	}
}
