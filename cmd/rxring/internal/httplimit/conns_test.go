package httplimit

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

// A client that asks, and does not read the answer, keeps its place for no longer than an
// answer takes. The server here has no timeouts.
func TestUnreadAnswers(t *testing.T) {
	need.Time(t, "it waits for a deadline")
	limit := Conns{Max: 16, AnswerTime: time.Second}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 16<<20) // more than sockets hold
	srv := &http.Server{ConnState: limit.Note, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			w.Write(answer)
		}
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(l)
	}()
	defer func() {
		srv.Close()
		<-served
	}()
	for range limit.Max {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil { // it is being answered
			t.Fatal(err)
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get("http://" + l.Addr().String())
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
