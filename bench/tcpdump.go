package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/interpose"
)

// tcpdump is a running tcpdump that throws its packets away. It is the far end
// of two contenders, with the same arguments and the same size of buffer.
type tcpdump struct {
	lines  chan string // of its standard error; closed at its end
	signal func() error
	end    func() error     // ends it and waits for it
	result interpose.Result // after end, if it was interposed
	pid    int              // of the command, if it is a process of its own
}

const tcpdumpBuffer = 16 << 20

func tcpdumpArgs(device string) []string {
	return []string{"tcpdump", "-i", device, "-n", "-s", strconv.Itoa(snapLen),
		"-B", strconv.Itoa(tcpdumpBuffer >> 10), "-Z", "root", "-w", os.DevNull}
}

// kernelTcpdump runs tcpdump in a namespace, on the kernel's packet sockets.
func kernelTcpdump(ns *kring.Namespace) (*tcpdump, error) {
	return startTcpdump(ns, tcpdumpArgs(tapName))
}

// startTcpdump runs a command in a namespace that is a tcpdump or becomes one.
func startTcpdump(ns *kring.Namespace, args []string) (*tcpdump, error) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		return nil, fmt.Errorf("%w: %w", errSkip, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = w
	// The namespace's thread starts it, and so it ends with that, whatever
	// becomes of this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = ns.Do(cmd.Start)
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("%w: %s: %w", errSkip, args[0], err)
	}
	d := &tcpdump{
		lines:  lines(r),
		signal: func() error { return cmd.Process.Signal(syscall.SIGUSR1) },
		end:    func() error { return terminate(cmd) },
		pid:    cmd.Process.Pid,
	}
	return d, d.start()
}

// terminate ends a program.
func terminate(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	kill := time.AfterFunc(waitTimeout, func() { cmd.Process.Kill() })
	defer kill.Stop()
	return cmd.Wait()
}

// interposedTcpdump runs tcpdump on an rxring namespace.
func interposedTcpdump(ns *rxring.Namespace, device string) (*tcpdump, error) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		return nil, fmt.Errorf("%w: %w", errSkip, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &tcpdump{lines: lines(r)}
	ended := make(chan error, 1)
	go func() {
		var err error
		d.result, err = interpose.Run(ctx, interpose.Config{Namespace: ns, Args: tcpdumpArgs(device), Stdout: w, Stderr: w})
		w.Close()
		ended <- err
	}()
	// interpose forwards this process's signals while the program runs.
	d.signal = func() error { return syscall.Kill(os.Getpid(), syscall.SIGUSR1) }
	d.end = func() error {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	return d, d.start()
}

// lines reads r to its end.
func lines(r *os.File) chan string {
	ch := make(chan string, 64)
	go func() {
		defer r.Close()
		defer close(ch)
		for s := bufio.NewScanner(r); s.Scan(); {
			ch <- s.Text()
		}
	}()
	return ch
}

// start waits until tcpdump listens.
func (d *tcpdump) start() error {
	var said []string
	deadline := time.After(waitTimeout)
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				return errors.Join(fmt.Errorf("%w: tcpdump ended: %s", errSkip, strings.Join(said, "; ")), d.end())
			}
			if strings.Contains(line, "listening on") {
				return nil
			}
			said = append(said, line)
		case <-deadline:
			return errors.Join(fmt.Errorf("tcpdump does not start to capture: %w", errTimeout), d.stop())
		}
	}
}

// counts is what tcpdump says in answer to SIGUSR1.
var counts = regexp.MustCompile(`(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel`)

// ask has tcpdump tell how many packets it has read, and how many there was no
// room for.
func (d *tcpdump) ask() (captured, dropped uint64, err error) {
	if err := d.signal(); err != nil {
		return 0, 0, fmt.Errorf("tcpdump: signal: %w", err)
	}
	deadline := time.After(waitTimeout)
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				return 0, 0, errors.New("tcpdump has ended")
			}
			if m := counts.FindStringSubmatch(line); m != nil {
				captured, _ = strconv.ParseUint(m[1], 10, 64)
				dropped, _ = strconv.ParseUint(m[3], 10, 64)
				return captured, dropped, nil
			}
		case <-deadline:
			return 0, 0, fmt.Errorf("tcpdump does not print its counts: %w", errTimeout)
		}
	}
}

// settle waits until tcpdump has read what was sent, or knows it was dropped.
// It does not say how long the packets were: size is believed.
func (d *tcpdump) settle(sent uint64, size int) (tally, error) {
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(20 * time.Millisecond) {
		captured, dropped, err := d.ask()
		if err != nil {
			return tally{}, err
		}
		if captured+dropped >= sent || time.Now().After(deadline) {
			return tally{accepted: captured, dropped: dropped, read: captured, bytes: captured * uint64(size)}, nil
		}
	}
}

// stop ends tcpdump.
func (d *tcpdump) stop() error {
	go func() {
		for range d.lines { // let it say its last words
		}
	}()
	return d.end()
}

// interposed is an rxring device with an unmodified tcpdump on it.
type interposed struct {
	dev    *rxring.Device
	packet rxring.Packet
	dump   *tcpdump

	sent, accepted uint64
}

func openInterposed(size int) (session, error) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	// libpcap makes its frames as long as the MTU says that packets are.
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", MTU: min(max(1500, size), 65535)})
	if err != nil {
		return nil, err
	}
	s := &interposed{dev: dev, packet: rxring.Packet{Data: packet(size)}}
	if s.dump, err = interposedTcpdump(ns, dev.Name()); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *interposed) send(n int) {
	for range n {
		s.dev.Deliver(&s.packet)
	}
	s.sent += uint64(n)
}

func (s *interposed) empty() {}

func (s *interposed) settle() (t tally, err error) {
	t, err = s.dump.settle(s.sent, len(s.packet.Data))
	s.accepted = t.accepted
	return t, err
}

// close also compares tcpdump's count with that of rxring's socket, and looks
// whether the frames that libpcap asked for hold whole packets.
func (s *interposed) close() error {
	if err := s.dump.stop(); err != nil {
		return err
	}
	for _, r := range s.dump.result.Sockets {
		if r.HadRing {
			if need := macOffset + len(s.packet.Data); r.Totals.Captured != s.accepted || int(r.Geometry.FrameSize) < need {
				return fmt.Errorf("tcpdump has read %d packets; %v: want the same, and frames of %d bytes or more", s.accepted, r, need)
			}
			return nil
		}
	}
	return errors.New("tcpdump had no packet socket with a ring")
}
