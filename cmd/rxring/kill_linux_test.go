package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// kills is small in a run of all tests. For a thorough run:
// `go test ./cmd/rxring -run TestKills -kills 200`.
var kills = flag.Int("kills", 16, "rounds of TestKills")

// killSeed repeats the random choices of a run; how the processes are scheduled still varies.
var killSeed = flag.Uint64("kills.seed", 0, "seed of TestKills; 0: the clock")

// TestKills kills, with SIGKILL, the server that offers a device, the client (rxring run)
// that is attached to it, and the client's program, in every combination. The processes that
// are left soon free what they held for those killed, and continue: a second client's tcpdump
// receives every packet for which its ring had room.
func TestKills(t *testing.T) {
	need.Time(t, "it kills processes for half a minute")
	need.Program(t, "tcpdump")
	if out, err := partyCommand(t, "rxring", "run", "-q", "--", "true").CombinedOutput(); err != nil {
		need.Skip(t, need.System, "rxring cannot interpose on programs: %v: %s", err, out)
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const perEra = 4 // rounds, one with each of the victims below and one that kills the server
	rounds := *kills
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay with -kills.seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	withServer := []string{"S", "SC", "SP", "SCP"}
	for era := range rounds / perEra {
		e := newEra(t, rnd, era%2 == 0)
		for _, victims := range []string{"C", "P", "CP"} {
			e.round(victims)
		}
		e.checkSurvivor()
		e.serverDies(withServer[era%len(withServer)])
		e.end()
		if t.Failed() {
			return
		}
	}
}

// hang is the time after which a step counts as hung. No step takes nearly as long.
const hang = 2 * time.Minute

// era is a server's life.
type era struct {
	t        *testing.T
	rnd      *rand.Rand
	dir      string
	server   *party
	ask      io.WriteCloser
	answers  *bufio.Reader
	parties  []*party // all that were started, for when one hangs
	survivor *client
	mine     *attach.Client // this process's own, with a socket and a ring
	socket   *attach.Socket
	before   holdings // without the victims
	ownFiles int      // this process's
	failing  bool
}

func newEra(t *testing.T, rnd *rand.Rand, immediate bool) *era {
	e := &era{t: t, rnd: rnd, dir: t.TempDir(), ownFiles: descriptors(os.Getpid())}
	e.server = e.party("killserver", e.path())
	var err error
	if e.ask, err = e.server.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := e.server.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	e.answers = bufio.NewReader(out)
	e.start(e.server)
	if l := e.line(); l != "ready" {
		e.fail("the server says %q: %s", l, e.server.err.String())
	}
	e.attachMyself()
	e.survivor = e.client(true, immediate)
	e.await("the survivor captures", func() bool { return e.status().Capturing == 2 })
	e.survivor.listening() // its filter is set, which costs memory
	e.before = e.holds()
	return e
}

// holdings is what the server and the survivor have.
type holdings struct {
	killStatus
	mappings        int // of rings
	files, hisFiles int // descriptors: the server's and the survivor's
}

func (e *era) holds() holdings {
	return holdings{e.status(), mapped(e.server.pid()), descriptors(e.server.pid()), descriptors(e.survivor.pid())}
}

func (h holdings) within(o holdings) bool {
	return h.Held == o.Held && h.Sockets == o.Sockets && h.Goroutines <= o.Goroutines && h.mappings <= o.mappings &&
		h.files <= o.files && h.hisFiles <= o.hisFiles
}

func (e *era) path() string { return filepath.Join(e.dir, "s") }

// attachMyself makes this process a peer, too.
func (e *era) attachMyself() {
	var err error
	if e.mine, err = attach.Dial(e.t.Context(), e.path()); err != nil {
		e.fail("%v", err)
	}
	s, err := e.mine.Socket(rxring.SockRaw, 0)
	if err != nil {
		e.fail("%v", err)
	}
	e.socket = s
	req := tpacket.Req{BlockSize: 1 << 16, BlockNr: 4, FrameSize: 1 << 11, FrameNr: 128}
	d, ok := e.mine.Namespace().DeviceByName("wg0")
	if !ok {
		e.fail("no wg0")
	}
	for what, err := range map[string]error{
		"ring": s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&req)),
		"bind": s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(d.Index()), Protocol: tpacket.Htons(tpacket.ETHPAll)}),
	} {
		if err != nil {
			e.fail("%s: %v", what, err)
		}
	}
	if _, err := s.Map(int(req.BlockSize * req.BlockNr)); err != nil {
		e.fail("map: %v", err)
	}
	if err := s.Mapped(); err != nil {
		e.fail("mapped: %v", err)
	}
}

// round kills the victims, C the client and P its program, and checks the server.
func (e *era) round(victims string) {
	c := e.client(false, e.rnd.IntN(2) == 0)
	if victims == "C" && e.rnd.IntN(2) == 0 {
		time.Sleep(time.Duration(e.rnd.IntN(60)) * time.Millisecond) // in the middle of something
	} else {
		c.listening()
		e.await("it captures", func() bool { return e.status().Capturing == 3 })
	}
	family := c.family()
	c.kill(victims)
	e.isGone(c, family, victims)
	e.await("the server has freed what "+victims+" had", func() bool { return e.holds().within(e.before) })
	if err := e.mine.Err(); err != nil {
		e.fail("this process's connection: %v", err)
	}
}

// isGone waits for a client and all that it started.
func (e *era) isGone(c *client, family []process, victims string) {
	var want []string
	if strings.ContainsAny(victims, "CP") {
		want = append(want, "signal: killed") // rxring dies as its program does
	}
	if strings.Contains(victims, "S") {
		want = append(want, "exit status 1") // tcpdump's, which may be the first to end
	}
	if state := c.wait(); !slices.Contains(want, state) {
		e.fail("%s killed: the client ended with %s: want one of %q: %s", victims, state, want, c.err.String())
	}
	for _, p := range family {
		e.await(fmt.Sprintf("process %d %s is gone", p.pid, p.name), func() bool { return !p.alive() })
	}
}

// checkSurvivor ends the second client with SIGINT, and checks what it has captured.
func (e *era) checkSurvivor() {
	s := e.survivor
	first, err := strconv.ParseUint(e.order("pause"), 10, 32)
	if err != nil {
		e.fail("%v", err)
	}
	last := uint32(first)
	e.await("the survivor has seen the last packet", func() bool {
		n, err := strconv.ParseUint(e.order("one"), 10, 32)
		if err != nil {
			e.fail("%v", err)
		}
		last = uint32(n)
		for range 20 {
			if s.seen().last == last {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	})
	s.cmd.Process.Signal(syscall.SIGINT)
	if state := s.wait(); state != "exit status 0" {
		e.fail("the survivor ended with %s: %s", state, s.err.String())
	}
	e.order("resume")
	got, counts := s.seen(), s.report()
	span := uint64(last - got.first + 1)
	offered, dropped := counts["packets offered"], counts["dropped: ring full"]+counts["dropped: slot still owned by a slower writer"]+counts["dropped: slot about to be released"]
	switch {
	case got.bad != "":
		e.fail("the survivor: %s", got.bad)
	case offered != counts["captured"]+dropped+counts["filtered out"]:
		e.fail("the survivor: the counts do not add up: %v", counts)
	case counts["captured"] != got.count:
		e.fail("the survivor read %d packets: want the %d that were captured", got.count, counts["captured"])
	case offered < span, span-got.count > dropped+counts["filtered out"]:
		e.fail("the survivor read %d of %d packets: want all but those dropped and filtered: %v", got.count, span, counts)
	}
	if dropped > 0 {
		e.t.Logf("the survivor had no room for %d of %d packets", dropped, offered)
	}
}

// serverDies kills the server, and others with it.
func (e *era) serverDies(victims string) {
	c := e.client(false, e.rnd.IntN(2) == 0)
	c.listening()
	e.await("it captures", func() bool { return e.status().Capturing == 2 })
	family := c.family()
	e.server.cmd.Process.Kill()
	c.kill(victims)
	e.server.wait()
	e.isGone(c, family, victims)
	if victims == "S" && (!strings.Contains(c.err.String(), "The interface disappeared") || !strings.Contains(c.err.String(), "the other end has closed the connection")) {
		e.fail("the client says: %s", c.err.String())
	}
	select {
	case <-e.mine.Done():
	case <-time.After(hang):
		e.fail("this process's client did not notice")
	}
	if err := e.mine.Err(); err == nil || errors.Is(err, os.ErrClosed) {
		e.fail("this process's connection ended with %v", err)
	}
	if ev := e.socket.Events(); ev&rxring.EventErr == 0 {
		e.fail("events %#x: want POLLERR", ev)
	}
}

// end looks for what is left.
func (e *era) end() {
	e.socket.Close()
	e.mine.Close()
	e.ask.Close()
	for _, p := range e.parties {
		p.wait()
	}
	e.await("this process has no more descriptors than before", func() bool { return descriptors(os.Getpid()) <= e.ownFiles })
}

// A party is a process that takes part.
type party struct {
	e     *era
	cmd   *exec.Cmd
	err   syncBuffer
	once  sync.Once
	state string
}

// partyCommand is rxring as users have it, or the server, which is this program.
func partyCommand(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	program := "/proc/self/exe"
	if name == "rxring" {
		var err error
		if program, err = build(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, args...)
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	return cmd
}

func (e *era) party(name string, args ...string) *party {
	p := &party{e: e, cmd: partyCommand(e.t, name, args...)}
	p.cmd.Stderr = &p.err
	p.cmd.WaitDelay = hang
	return p
}

func (e *era) start(p *party) {
	if err := p.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.parties = append(e.parties, p)
	e.t.Cleanup(func() { p.cmd.Process.Kill(); p.wait() })
}

func (p *party) pid() int { return p.cmd.Process.Pid }

// wait is how the process has ended.
func (p *party) wait() string {
	done := make(chan struct{})
	go func() {
		p.once.Do(func() {
			p.cmd.Wait()
			p.state = p.cmd.ProcessState.String()
		})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(hang):
		p.e.fail("process %d does not end", p.pid())
	}
	return p.state
}

// client is an rxring run with a tcpdump.
type client struct {
	*party
	mu   sync.Mutex
	read capture
}

// capture is what a tcpdump has written so far.
type capture struct {
	first, last uint32
	count       uint64
	bad         string // what is wrong with it
}

func (e *era) client(read, immediate bool) *client {
	args := []string{"run", "--at", e.path(), "--", "tcpdump", "-i", "wg0", "-n", "-U", "-B", "8192", "-s", "2000", "-w", "/dev/null"}
	if read {
		args[len(args)-1] = "-"
	}
	if immediate {
		args = append(args, "--immediate-mode")
	}
	c := &client{party: e.party("rxring", args...)}
	if read {
		c.cmd.Stdout = &captureReader{c: c}
	}
	e.start(c.party)
	return c
}

func (c *client) listening() {
	c.e.await("tcpdump listens", func() bool { return strings.Contains(c.err.String(), "listening on") })
}

func (c *client) seen() capture {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read
}

var reportLine = regexp.MustCompile(`(?m)^rxring: +([0-9]+) (.*)$`)

// report parses the counts that rxring run has printed.
func (c *client) report() map[string]uint64 {
	counts := make(map[string]uint64)
	for _, m := range reportLine.FindAllStringSubmatch(c.err.String(), -1) {
		counts[m[2]], _ = strconv.ParseUint(m[1], 10, 64)
	}
	return counts
}

// family is the processes below a client: the launcher and what it started.
func (c *client) family() (all []process) {
	for parents := []int{c.pid()}; len(parents) > 0; parents = parents[1:] {
		for _, p := range children(parents[0]) {
			all = append(all, p)
			parents = append(parents, p.pid)
		}
	}
	return all
}

// kill kills those of the victims that there are.
func (c *client) kill(victims string) {
	if strings.Contains(victims, "P") {
		for _, p := range c.family() {
			if p.name == "tcpdump" {
				syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
	}
	if strings.Contains(victims, "C") {
		c.cmd.Process.Kill()
	}
}

// captureReader reads a capture file as it is written.
type captureReader struct {
	c    *client
	left []byte
	head bool // was read
}

const (
	pcapHeader   = 24
	recordHeader = 16
)

func (r *captureReader) Write(b []byte) (int, error) {
	r.left = append(r.left, b...)
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if !r.head && len(r.left) >= pcapHeader {
		r.head, r.left = true, r.left[pcapHeader:]
	}
	for r.head && len(r.left) >= recordHeader {
		n, of := binary.NativeEndian.Uint32(r.left[8:]), binary.NativeEndian.Uint32(r.left[12:])
		if len(r.left) < recordHeader+int(n) {
			break
		}
		r.c.read.check(r.left[recordHeader:][:n], of)
		r.left = r.left[recordHeader+int(n):]
	}
	return len(b), nil
}

// check checks a packet: it must be whole, and follow the one before.
func (c *capture) check(b []byte, of uint32) {
	if c.bad != "" || len(b) < 18 {
		return
	}
	seq := binary.BigEndian.Uint32(b[14:])
	switch {
	case !bytes.Equal(b, killFrame(seq)) || int(of) != len(b):
		c.bad = fmt.Sprintf("packet %d, %d bytes of %d, is torn: % x", seq, len(b), of, b)
	case c.count > 0 && seq <= c.last:
		c.bad = fmt.Sprintf("packet %d comes after %d", seq, c.last)
	}
	if c.count == 0 {
		c.first = seq
	}
	c.last = seq
	c.count++
}

// order sends the server an order, and returns its answer.
func (e *era) order(order string) string {
	if _, err := fmt.Fprintln(e.ask, order); err != nil {
		e.fail("%s: %v", order, err)
	}
	return e.line()
}

func (e *era) line() string {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		l, err := e.answers.ReadString('\n')
		got <- answer{strings.TrimSpace(l), err}
	}()
	select {
	case a := <-got:
		if a.err != nil {
			e.fail("the server: %v: %s", a.err, e.server.err.String())
		}
		return a.line
	case <-time.After(hang):
		e.fail("the server does not answer")
	}
	return ""
}

func (e *era) status() (st killStatus) {
	if err := json.Unmarshal([]byte(e.order("status")), &st); err != nil {
		e.fail("%v", err)
	}
	return st
}

// await waits for something that must come.
func (e *era) await(what string, come func() bool) {
	e.t.Helper()
	for end := time.Now().Add(hang); !come(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			e.fail("never: %s", what)
		}
	}
}

// fail ends the test, and logs the state of all processes.
func (e *era) fail(format string, args ...any) {
	e.t.Helper()
	e.t.Errorf(format, args...)
	if e.before.Goroutines > 0 && !e.failing {
		e.failing = true // status fails, too, if the server is gone
		e.t.Logf("before: %+v, now: %+v", e.before, e.holds())
	}
	stacks := make([]byte, 1<<20)
	e.t.Logf("this process:\n%s", stacks[:runtime.Stack(stacks, true)])
	for _, p := range e.parties {
		me, ok := processOf(p.pid())
		if !ok || !me.alive() {
			continue
		}
		family := (&client{party: p}).family()
		for _, o := range append([]process{me}, family...) {
			e.t.Log(o.describe())
			if o.name != "tcpdump" {
				syscall.Kill(o.pid, syscall.SIGABRT) // Go's runtime prints the goroutines
			}
		}
		time.Sleep(time.Second)
		p.cmd.Process.Kill()
		e.t.Logf("process %d, %v:\n%s", p.pid(), p.cmd.Args, p.err.String())
	}
	e.t.FailNow()
}

// process identifies a process by its number and start time: numbers are reused.
type process struct {
	pid         int
	name, start string
}

// processOf reads /proc/PID/stat: pid (name) state ppid ... starttime, the 22nd.
func processOf(pid int) (p process, ok bool) {
	f, name := stat(pid)
	if len(f) < 20 || f[0] == "Z" {
		return p, false
	}
	return process{pid, name, f[19]}, true
}

// stat is the fields of /proc/PID/stat from the state on.
func stat(pid int) (fields []string, name string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < 0 {
		return nil, ""
	}
	return strings.Fields(string(b[end+1:])), string(b[open+1 : end])
}

func (p process) alive() bool {
	now, ok := processOf(p.pid)
	return ok && now.start == p.start
}

func (p process) describe() string {
	s := fmt.Sprintf("process %d %s", p.pid, p.name)
	for _, what := range []string{"wchan", "syscall", "stack"} {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.pid, what))
		s += fmt.Sprintf("\n%s: %s", what, b)
	}
	return s
}

// children lists the processes that pid has started.
func children(pid int) (all []process) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(f)
			if p, ok := processOf(n); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// descriptors counts a process's descriptors, except those of /proc that this count opens.
func descriptors(pid int) (n int) {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && !strings.Contains(to, "/proc/") {
			n++
		}
	}
	return n
}

// mapped counts the rings that a process has mapped.
func mapped(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	return strings.Count(string(b), "memfd:rxring")
}

// syncBuffer is a buffer that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
