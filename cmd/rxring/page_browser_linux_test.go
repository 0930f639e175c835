package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring/cmd/rxring/internal/line/linetest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

// screenshotsEnv is the directory into which TestPageInABrowser writes the pictures of docs/page.md:
//
//	RXRING_SCREENSHOTS=$PWD/docs/img go test -run PageInABrowser ./cmd/rxring
const screenshotsEnv = "RXRING_SCREENSHOTS"

// pageRate is how many packets a second the page's device receives.
const pageRate = 5000

// TestPageInABrowser opens the page of rxring serve --http in chromium. testdata/browser/page.mjs
// has what the browser does, and what must be there.
func TestPageInABrowser(t *testing.T) {
	need.Time(t, "it runs a browser")
	need.Root(t, "run chromium in a container, without chromium's sandbox")
	need.Program(t, "chromium", "node", "tcpdump")
	if _, err := os.Stat("testdata/browser/node_modules/playwright-core"); err != nil {
		need.Skip(t, need.Programs, "playwright-core is not installed: make browser")
	}
	rxring := filepath.Join(sharedDir(t), "rxring")
	dir := t.TempDir()
	at, file, kept := filepath.Join(dir, "s"), filepath.Join(dir, "taken.pcapng"), filepath.Join(dir, "kept.pcapng")
	serve := exec.Command(rxring, "serve", "--from", "net0=file:trace.pcapng,loop,now", "--at", at, "--http", "127.0.0.1:0")
	serve.Dir = dir
	writeTrace(t, filepath.Join(dir, "trace.pcapng"))
	log, err := serve.StderrPipe()
	start(t, serve, err)
	chromium, _ := exec.LookPath("chromium")
	settings := map[string]any{"url": pageURL(t, log), "chromium": chromium, "shots": dir, "file": file, "kept": kept, "at": at, "chartTime": 0, "rateTime": 2000}
	if shots := os.Getenv(screenshotsEnv); shots != "" {
		settings["shots"], settings["chartTime"] = shots, 40_000 // so that charts show something
	}
	b := startBrowser(t, settings)

	b.await("readers")
	sniff := filepath.Join(dir, "<u>sniff")
	tcpdump, _ := exec.LookPath("tcpdump")
	if err := os.Symlink(tcpdump, sniff); err != nil {
		t.Fatal(err)
	}
	start(t, exec.Command(rxring, "run", "--at", at, "--", sniff, "-i", "net0", "-n", "-w", "/dev/null", "tcp"), nil)
	b.order()

	b.await("slow")
	slow := exec.Command(rxring, "run", "--at", at, "--", "tcpdump", "-i", "net0", "-n", "-l", "-B", "1024")
	_, err = slow.StdoutPipe() // it is not read
	start(t, slow, err)
	b.order()

	b.await("rate")
	begin, before := time.Now(), cpuTime(t, serve.Process.Pid)
	b.order()
	b.await("measured")
	open := (cpuTime(t, serve.Process.Pid) - before).Seconds() / time.Since(begin).Seconds()
	b.order()
	b.end()
	begin, before = time.Now(), cpuTime(t, serve.Process.Pid)
	time.Sleep(time.Second)
	t.Logf("rxring serve at %d packets a second and two readers: %.1f %% of a processor with the page, %.1f %% without it",
		pageRate, 100*open, 100*(cpuTime(t, serve.Process.Pid)-before).Seconds()/time.Since(begin).Seconds())

	if n := countByTcpdump(t, file); n != 500 {
		t.Errorf("tcpdump reads %d packets of the download, want 500", n)
	}
	if n := countByTcpdump(t, kept); n == 0 || n > 10_000 {
		t.Errorf("tcpdump reads %d packets that the table has kept, want up to 10000", n)
	}
}

// countByTcpdump returns the number of packets in a file.
func countByTcpdump(t *testing.T, path string) int {
	t.Helper()
	out, err := exec.Command("tcpdump", "-r", path, "-n", "-t").Output()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(out, []byte("\n"))
}

// writeTrace writes a second of packets: TCP, and UDP with a comment that is HTML.
func writeTrace(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := capfile.NewWriter(f, capfile.Section{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(capfile.Interface{LinkType: capfile.LinkEthernet}); err != nil {
		t.Fatal(err)
	}
	payload := gopacket.Payload(bytes.Repeat([]byte("<b>bytes</b>"), 100))
	for i := range pageRate {
		comment := ""
		ip := linetest.IP4(layers.IPProtocolTCP)
		ip.SrcIP[3] = byte(10 + i%7)
		data := linetest.Frame(t, linetest.Ether(layers.EthernetTypeIPv4), ip, &layers.TCP{SrcPort: layers.TCPPort(40000 + i%7), DstPort: 443, ACK: true, PSH: i%3 == 0, Seq: uint32(i), Window: 502}, payload)
		if i%10 == 0 {
			comment = "<script>window.hacked = 1</script><b>x</b>"
			data = linetest.Frame(t, linetest.Ether(layers.EthernetTypeIPv4), linetest.IP4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 7, DstPort: 53}, payload)
		}
		if err := w.WriteCommented(0, 1e18+int64(i)*1e9/pageRate, len(data), data, capfile.Inbound, comment); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// start starts a program, and ends it with the test.
func start(t *testing.T, cmd *exec.Cmd, err error) {
	t.Helper()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

var printedURL = regexp.MustCompile(`msg=page url="?([^" ]+)`)

// pageURL waits for the URL in the log of rxring serve, which is read until its end.
func pageURL(t *testing.T, log io.Reader) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		defer close(found)
		for in := bufio.NewScanner(log); in.Scan(); {
			if m := printedURL.FindStringSubmatch(in.Text()); m != nil && len(found) == 0 {
				found <- m[1]
			}
		}
	}()
	select {
	case u, ok := <-found:
		if ok {
			return u
		}
	case <-time.After(time.Minute):
	}
	t.Fatal("rxring serve prints no URL")
	return ""
}

// browser is testdata/browser/page.mjs.
type browser struct {
	t     *testing.T
	in    io.Writer
	lines *bufio.Scanner
}

func startBrowser(t *testing.T, settings map[string]any) *browser {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "page.mjs", string(text))
	cmd.Dir, cmd.Stderr = "testdata/browser", os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	start(t, cmd, err)
	return &browser{t, in, bufio.NewScanner(out)}
}

// await waits until the browser is ready for what the test does next.
func (b *browser) await(what string) {
	b.t.Helper()
	for b.lines.Scan() {
		line := b.lines.Text()
		if line == "ready "+what {
			return
		}
		b.note(line)
	}
	b.t.Fatalf("the browser ended before %s", what)
}

// note logs a line of the browser. After a failure all further lines are part of it.
func (b *browser) note(line string) {
	b.t.Helper()
	b.t.Log(line)
	if !strings.HasPrefix(line, "failed ") {
		return
	}
	for b.lines.Scan() {
		b.t.Log(b.lines.Text())
	}
	b.t.FailNow()
}

// order lets the browser continue.
func (b *browser) order() { fmt.Fprintln(b.in) }

// end waits for the browser's end.
func (b *browser) end() {
	b.t.Helper()
	for b.lines.Scan() {
		b.note(b.lines.Text())
	}
}

// cpuTime returns the processor time of a process so far.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest) // from state on: utime and stime are the 12th and 13th
	sum := 0
	for _, text := range fields[11:13] {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	const hertz = 100 // USER_HZ
	return time.Duration(sum) * time.Second / hertz
}
