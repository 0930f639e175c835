package bench

import (
	"bytes"
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
	// prepare starts a process between device and readers, and returns the command that
	// readers are started with, the process's ID, and a function that ends it. nil: there
	// is none.
	prepare func(v *veth, dir string) (reader []string, pid int, end func() error, err error)
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

	// A trial floods for floodWarmUp, in which programs start and touch their rings, then
	// measures for floodTime.
	floodWarmUp = 500 * time.Millisecond
	floodTime   = 2 * time.Second

	// A reader whose count has not changed for floodSettle has all packets that it gets.
	floodSettle = time.Second
)

func (f flooded) name() string { return floodTable + "/" + f.row + "/" + sizeName(floodSize) }

// flood holds the medians of one of them.
type flood struct {
	row     string
	skipped string // why; empty: it was not

	sent float64 // packets that the sender sent a second, as fast as it could
	kept float64 // share of them that the reader with the fewest got
	cpu  float64 // ns of CPU time a packet, of the readers and what serves them
}

// medianFlood returns the medians of a row's trials.
func (r *Report) medianFlood(row string) flood {
	of := r.trials[row]
	if len(of) == 0 {
		return flood{row: row, skipped: r.skipped[flooded{row: row}.name()]}
	}
	return flood{row: row, sent: median(of, trial.rate), kept: median(of, trial.kept), cpu: median(of, trial.nsPerPacket)}
}

// run floods once. short is not a measurement: does it work?
func (f flooded) run(short bool) (t trial, err error) {
	dir, err := os.MkdirTemp("", "rxring-flood-")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if !short {
		return f.trial(dir, floodWarmUp, floodTime)
	}
	for during := 20 * time.Millisecond; ; during *= 2 {
		t, err := f.trial(dir, 0, during)
		if err != nil || t.least > 0 || during > time.Second { // none: the machine is busy
			return t, err
		}
	}
}

// trial is what a flood, after its warm-up, has measured.
type trial struct {
	sent  uint64
	took  time.Duration
	least uint64        // packets that the reader with the fewest got
	read  uint64        // packets that all readers got
	cpu   time.Duration // of the readers and what serves them

	readers int
}

// nsPerPacket is the CPU time, in ns, for a packet that all readers got.
func (t trial) nsPerPacket() float64 {
	return float64(t.cpu.Nanoseconds()) * float64(t.readers) / float64(t.read)
}

func (t trial) rate() float64 { return float64(t.sent) / t.took.Seconds() }

func (t trial) kept() float64 { return float64(t.least) / float64(t.sent) }

// trial floods once, with devices and readers of its own.
func (f flooded) trial(dir string, warmUp, during time.Duration) (t trial, err error) {
	v, err := openVeth()
	if err != nil {
		return t, err
	}
	defer v.close()
	args := tcpdumpArgs(vethFar)
	var pids []int
	if f.prepare != nil {
		reader, pid, end, err2 := f.prepare(v, dir)
		if err2 != nil {
			return t, err2
		}
		defer func() { err = errors.Join(err, end()) }()
		args, pids = append(reader, args...), append(pids, pid)
	}
	var readers []*tcpdump
	defer func() {
		for _, r := range readers {
			err = errors.Join(err, r.stop())
		}
	}()
	for range f.readers {
		r, err := startTcpdump(v.far, args)
		if err != nil {
			return t, err
		}
		readers, pids = append(readers, r), append(pids, r.pid)
	}
	var s *sender
	if err := v.near.Do(func() (err error) { s, err = openSender(v.index, floodSize); return err }); err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	var sent uint64                         // in the warm-up
	earlier := make([]uint64, len(readers)) // packets that each reader has of it
	if warmUp > 0 {
		if sent, _, err = v.flood(s, warmUp); err != nil {
			return t, err
		}
		for i, r := range readers {
			if earlier[i], err = r.settled(sent); err != nil {
				return t, err
			}
		}
	}
	before, err := cpuTimeOf(pids)
	if err != nil {
		return t, err
	}
	if t.sent, t.took, err = v.flood(s, during); err != nil {
		return t, err
	}
	t.least = t.sent
	for i, r := range readers {
		n, err := r.settled(earlier[i] + t.sent)
		if err != nil {
			return t, err
		}
		if n > sent+t.sent {
			return t, fmt.Errorf("%d packets sent, a reader got %d: want no more", sent+t.sent, n)
		}
		n = min(n-earlier[i], t.sent) // more if the reader was late in the warm-up
		t.least = min(t.least, n)
		t.read += n
	}
	after, err := cpuTimeOf(pids)
	t.cpu, t.readers = after-before, len(readers)
	return t, err
}

// settled waits until tcpdump has read n packets, or gets no more, and returns how many it has
// read.
func (d *tcpdump) settled(n uint64) (captured uint64, err error) {
	changed := time.Now()
	for last := uint64(0); ; time.Sleep(20 * time.Millisecond) {
		captured, _, err = d.ask()
		if err != nil || captured >= n {
			return captured, err
		}
		if captured != last {
			last, changed = captured, time.Now()
		} else if time.Since(changed) > floodSettle {
			return captured, nil
		}
	}
}

// serve starts `rxring serve` on the device, for readers that attach to it.
func serve(v *veth, dir string) (reader []string, pid int, end func() error, err error) {
	rxring, err := buildRxring()
	if err != nil {
		return nil, 0, nil, err
	}
	at := filepath.Join(dir, "at")
	if err := os.RemoveAll(at); err != nil {
		return nil, 0, nil, err
	}
	var said bytes.Buffer
	cmd := exec.Command(rxring, "serve", "--at", at, "--from", "iface:"+vethFar)
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with its namespace's thread
	if err := v.far.Do(cmd.Start); err != nil {
		return nil, 0, nil, err
	}
	end = func() error {
		if err := terminate(cmd); err != nil {
			return fmt.Errorf("rxring serve: %w: %s", err, strings.TrimSpace(said.String()))
		}
		return nil
	}
	if err := waitFor(func() bool { _, err := os.Stat(at); return err == nil }); err != nil {
		return nil, 0, nil, errors.Join(fmt.Errorf("rxring serve is not there: %w", err), end())
	}
	return []string{rxring, "run", "-q", "--at", at, "--"}, cmd.Process.Pid, end, nil
}

// floodTable is the table of floods.
func (r *Report) floodTable() table {
	t := table{
		title: "Packets arriving at a veth device while programs read it, " + sizeName(floodSize),
		head:  []string{"", "sent: M/s", "kept", "CPU: ns", "×"},
	}
	base := 0.0
	for _, f := range r.floods {
		line := []string{f.row, "-", "-", "-", "-"}
		if f.skipped != "" {
			t.notes = append(t.notes, fmt.Sprintf("NOT MEASURED: %s: %s", f.row, f.skipped))
		} else {
			if base == 0 {
				base = f.cpu
			}
			line = []string{f.row, number(f.sent / 1e6), shareText(f.kept), number(f.cpu), number(f.cpu / base)}
		}
		t.rows = append(t.rows, line)
	}
	if len(t.rows) > 0 {
		t.notes = append(t.notes, fmt.Sprintf("sent: millions of packets sent per second, at full speed, for %v, after %v that do not count. kept: the share of those packets that the reader with the fewest got. CPU: time per packet, in user space and kernel, of all readers and rxring serve; ×: against the first row. The sender's time is not included, and its core also runs the kernel's receive path with the kernel's own packet rings. Readers write to /dev/null and have buffers of %d MiB each.", floodTime, floodWarmUp, tcpdumpBuffer>>20))
	}
	return t
}

// shareText is 100% only if it is all.
func shareText(v float64) string { return fmt.Sprintf("%.0f%%", math.Floor(100*v)) }
