package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

// TestPageOfAHub: the page of rxring hub --http shows the hosts, and the packets of one.
func TestPageOfAHub(t *testing.T) {
	need.Time(t, "it waits for hosts")
	rxring := filepath.Join(sharedDir(t), "rxring")
	hub := exec.Command(rxring, "hub", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
	out, err := hub.StderrPipe()
	start(t, hub, err)
	lines := bufio.NewScanner(out)
	find := func(pattern string) string {
		t.Helper()
		for re := regexp.MustCompile(pattern); lines.Scan(); {
			if m := re.FindStringSubmatch(lines.Text()); m != nil {
				return m[1]
			}
		}
		t.Fatalf("the hub prints no line %s", pattern)
		return ""
	}
	server, page := find(`listening at (\S+)`), find(`page at (\S+)`)
	go io.Copy(io.Discard, out)
	start(t, exec.Command(rxring, "ship", "--to", server, "--host", "web-1", "--from", "streams:1"), nil)

	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: time.Minute}
	resp, err := client.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	base, _ := url.Parse(page)
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		text := readUntil(t, client, base.ResolveReference(&url.URL{Path: "/packets/events", RawQuery: "device=web-1.net0"}).String(), "event: rows")
		if strings.Contains(text, `["web-1.net0"]`) && strings.Contains(text, `"From":"192.0.2.`) {
			break
		}
		if time.Now().After(end) { // the host was late
			t.Fatalf("no packets of a host: %.500s", text)
		}
	}
	text := readUntil(t, client, base.ResolveReference(&url.URL{Path: "/overview/events"}).String(), "event: snapshot")
	for _, want := range []string{`"hosts":[{"name":"web-1"}]`, `"source":"web-1/net0"`, `"lost_transit":0`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the overview: %s", want, text)
		}
	}
}

// readUntil returns a stream of events up to the line after last, or to its end.
func readUntil(t *testing.T, client *http.Client, url, last string) (text string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 8<<20)
	for found := false; in.Scan() && !found; {
		found = strings.HasSuffix(text, last+"\n")
		text += in.Text() + "\n"
	}
	return text
}
