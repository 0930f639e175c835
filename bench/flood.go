package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// flooded is a way to have programs read a device that packets come in at.
type flooded struct {
	row     string
	readers int
	// prepare starts what stands between device and readers, if anything does,
	// and returns a reader's command and what ends all that. Nil: nothing does.
	prepare func(v *veth, dir string) (reader []string, end func() (cpu time.Duration, err error), err error)
}

var floods = []flooded{
	{"tcpdump on the kernel", 1, nil},
	{"tcpdump through rxring serve", 1, serve},
	{"8 tcpdumps on the kernel", 8, nil},
	{"8 tcpdumps through rxring serve", 8, serve},
}

const (
	floodSize  = 64
	floodTable = "Flood"

	// A trial floods for floodTime, and a contender has floodLimit for its
	// trials: enough to halve a range of floodRange to a tenth, in less than 90 s
	// for all contenders.
	floodTime  = 700 * time.Millisecond
	floodLimit = 15 * time.Second
	floodRange = 256
	floodSteps = 6

	// A reader that has not got a packet for so long does not get any more.
	floodSettle = 500 * time.Millisecond
)

func (f flooded) name() string { return floodTable + "/" + f.row + "/" + sizeName(floodSize) }

// flood is what was found out about one of them.
type flood struct {
	row     string
	skipped string // why; empty: it was not

	most float64 // packets that the sender sends a second when nothing holds it back
	rate float64 // packets a second at the highest rate at which no reader lost any; 0: at none
	cpu  float64 // ns of CPU time a packet at that rate, of the readers and what serves them
	kept float64 // share that the reader with the fewest packets got of those sent as fast as it goes
}

// run looks for the highest rate without a loss. short is not a measurement: does
// it work?
func (f flooded) run(ctx context.Context, short bool) (r flood, err error) {
	r.row = f.row
	dir, err := os.MkdirTemp("", "rxring-flood-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	during := floodTime
	if short {
		during = 20 * time.Millisecond
	}
	deadline := time.Now().Add(floodLimit)
	first, err := f.trial(dir, 0, during)
	for tries := 1; short && err == nil && first.least == 0 && tries < 5; tries++ {
		first, err = f.trial(dir, 0, during<<tries) // the machine is busy: a reader had no turn
	}
	if err != nil {
		return r, err
	}
	r.most, r.kept = first.rate(), float64(first.least)/float64(first.sent)
	if first.lossless() {
		r.rate, r.cpu = first.rate(), first.nsPerPacket()
		return r, nil
	}
	lossy, lossless := r.most, r.most/floodRange
	for range floodSteps {
		if short || time.Now().After(deadline) {
			break
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
		try := math.Sqrt(lossy * lossless)
		t, err := f.trial(dir, try, during)
		if err != nil {
			return r, err
		}
		if t.lossless() {
			lossless = try
			r.rate, r.cpu = t.rate(), t.nsPerPacket()
		} else {
			lossy = try
		}
	}
	return r, nil
}

// trial is a flood at one rate.
type trial struct {
	sent    uint64
	took    time.Duration
	least   uint64 // packets that the reader with the fewest got
	dropped uint64 // that the readers know of
	cpu     time.Duration
}

func (t trial) lossless() bool { return t.least == t.sent && t.dropped == 0 }

func (t trial) rate() float64 { return float64(t.sent) / t.took.Seconds() }

func (t trial) nsPerPacket() float64 { return float64(t.cpu.Nanoseconds()) / float64(t.sent) }

// trial floods once, with devices and readers of its own.
func (f flooded) trial(dir string, rate float64, during time.Duration) (t trial, err error) {
	v, err := openVeth()
	if err != nil {
		return t, err
	}
	defer v.close()
	args := tcpdumpArgs(vethFar)
	if f.prepare != nil {
		reader, end, err2 := f.prepare(v, dir)
		if err2 != nil {
			return t, err2
		}
		defer func() {
			cpu, err2 := end()
			t.cpu += cpu
			err = errors.Join(err, err2)
		}()
		args = append(reader, args...)
	}
	var readers []*tcpdump
	defer func() {
		for _, r := range readers {
			err = errors.Join(err, r.stop())
			t.cpu += r.cpu
		}
	}()
	for range f.readers {
		r, err := startTcpdump(v.far, args)
		if err != nil {
			return t, err
		}
		readers = append(readers, r)
	}

	var s *sender
	if err := v.near.Do(func() (err error) { s, err = openSender(v.index, floodSize); return err }); err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := v.near.Do(func() (err error) { t.sent, t.took, err = s.flood(rate, during); return err }); err != nil {
		return t, err
	}
	if t.sent == 0 {
		return t, errors.New("no packet was sent")
	}
	t.least = t.sent
	for _, r := range readers {
		captured, dropped, err := r.settled(t.sent)
		if err != nil {
			return t, err
		}
		if captured > t.sent {
			return t, fmt.Errorf("%d packets sent, a reader got %d: want no more", t.sent, captured)
		}
		t.least = min(t.least, captured)
		t.dropped += dropped
	}
	return t, nil
}

// settled waits until tcpdump has read what was sent, or gets no more, and says
// how many it has read and how many it knows that it has lost.
func (d *tcpdump) settled(sent uint64) (captured, dropped uint64, err error) {
	news := time.Now()
	for last := uint64(0); ; time.Sleep(20 * time.Millisecond) {
		captured, dropped, err = d.ask()
		if err != nil || captured >= sent {
			return captured, dropped, err
		}
		if captured != last {
			last, news = captured, time.Now()
		} else if time.Since(news) > floodSettle {
			return captured, dropped, nil
		}
	}
}

// serve has `rxring serve` read the device, and readers attach to it: errSkip as
// long as rxring has no such command.
func serve(v *veth, dir string) (reader []string, end func() (time.Duration, error), err error) {
	rxring, err := buildRxring(dir)
	if err != nil {
		return nil, nil, err
	}
	at := filepath.Join(dir, "at")
	if err := os.RemoveAll(at); err != nil {
		return nil, nil, err
	}
	var said bytes.Buffer
	cmd := exec.Command(rxring, "serve", "--at", at, "--from", "iface:"+vethFar)
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with its namespace's thread
	if err := v.far.Do(cmd.Start); err != nil {
		return nil, nil, err
	}
	end = func() (time.Duration, error) {
		cpu, err := terminate(cmd)
		if err != nil {
			err = fmt.Errorf("rxring serve: %w: %s", err, strings.TrimSpace(said.String()))
		}
		return cpu, err
	}
	if err := waitFor(func() bool { _, err := os.Stat(at); return err == nil }); err != nil {
		_, err2 := end()
		return nil, nil, errors.Join(fmt.Errorf("rxring serve is not there: %w", err), err2)
	}
	return []string{rxring, "run", "-q", "--at", at, "--"}, end, nil
}

// buildRxring builds the rxring of this tree in dir, unless it is there.
func buildRxring(dir string) (path string, err error) {
	path = filepath.Join(dir, "rxring")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	where, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/rxring/rxring").Output()
	if err != nil {
		return "", fmt.Errorf("%w: where rxring's source is: go list: %w", errSkip, err)
	}
	out, err := exec.Command("go", "build", "-C", strings.TrimSpace(string(where)), "-o", path, "./cmd/rxring").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build ./cmd/rxring: %w: %s", err, out)
	}
	// The flag is none of any command's: it is told apart from a command.
	out, _ = exec.Command(path, "serve", "--no-such-flag").CombinedOutput()
	if strings.Contains(string(out), "unknown command") {
		return "", fmt.Errorf("%w: rxring has no command serve: %s", errSkip, strings.TrimSpace(string(out)))
	}
	return path, nil
}

// floodTable lays out what the floods found.
func (r *Report) floodTable() table {
	t := table{
		title: "Packets arriving at a veth device while programs read it, " + sizeName(floodSize),
		head:  []string{"", "without loss: M/s", "CPU: ns", "flooded: M/s", "kept"},
	}
	for _, f := range r.floods {
		line := []string{f.row, "-", "-", "-", "-"}
		switch {
		case f.skipped != "":
			t.notes = append(t.notes, fmt.Sprintf("NOT MEASURED: %s: %s", f.row, f.skipped))
		case f.rate == 0:
			line = []string{f.row, "none", "-", number(f.most / 1e6), shareText(f.kept)}
		case f.rate == f.most:
			line = []string{f.row, "≥ " + number(f.rate/1e6), number(f.cpu), number(f.most / 1e6), shareText(f.kept)}
		default:
			line = []string{f.row, number(f.rate / 1e6), number(f.cpu), number(f.most / 1e6), shareText(f.kept)}
		}
		t.rows = append(t.rows, line)
	}
	if len(t.rows) > 0 {
		t.notes = append(t.notes, fmt.Sprintf("without loss: the highest rate found, in millions of packets sent per second for %v, at which every reader got every packet (one bisection, to a tenth); ≥: the sender's maximum. CPU: time per packet at that rate, in user space and kernel, of all readers and rxring serve. The sender's time is not included, and its core also runs the kernel's receive path with the kernel's own packet rings. flooded: the sender's rate at full speed; kept: the share of those packets that the reader with the fewest got. Readers write to /dev/null and have buffers of %d MiB each.", floodTime, tcpdumpBuffer>>20))
	}
	return t
}

// shareText is 100% only if it is all.
func shareText(v float64) string { return fmt.Sprintf("%.0f%%", math.Floor(100*v)) }
