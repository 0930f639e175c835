package hostile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Users of a run. They need no names.
const (
	victimUID   = 61234
	attackerUID = 61235
	strangerUID = 61236 // whom no rule names
)

// patience is for what must happen soon. It is only there for what hangs.
const patience = time.Minute

// process is one that plays a role.
type process struct {
	t     testing.TB
	role  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	err   bytes.Buffer
	ended sync.Once
}

// priority is the nice value of all that takes part: what else the machine does disturbs a
// run less.
const priority = -15

// startAt starts a process with a nice value, where this one may give it.
func startAt(nice int, cmd *exec.Cmd) error {
	runtime.LockOSThread() // a process begins with the nice value of the thread that starts it
	defer runtime.UnlockOSThread()
	defer setPriority(nice)()
	return cmd.Start()
}

// setPriority sets the calling thread's nice value, until back is called.
func setPriority(nice int) (back func()) {
	const zero = 20 // what the system call returns for 0
	before, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, 0, nice) != nil {
		return func() {}
	}
	return func() { unix.Setpriority(unix.PRIO_PROCESS, 0, zero-before) }
}

// start starts a process that plays a role, and waits until it is ready. It has nice more
// than priority.
func start(t testing.TB, role string, uid uint32, nice int, args ...string) *process {
	t.Helper()
	p := &process{t: t, role: role, cmd: exec.Command("/proc/self/exe", args...)}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+role)
	p.cmd.Dir = "/"
	p.cmd.Stderr = &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
	var err error
	p.in, err = p.cmd.StdinPipe()
	must(t, err)
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	p.out = bufio.NewReader(out)
	must(t, startAt(priority+nice, p.cmd))
	t.Cleanup(p.kill)
	p.line("ready")
	return p
}

// line wants a line of output.
func (p *process) line(want string) {
	p.t.Helper()
	defer p.watchdog()()
	if l, err := p.out.ReadString('\n'); err != nil || l != want+"\n" {
		p.kill()
		p.t.Fatalf("the %s says %q, %v: %s", p.role, l, err, p.err.String())
	}
}

// order writes a line of input.
func (p *process) order(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.kill()
		p.t.Fatalf("the %s: %v: %s", p.role, err, p.err.String())
	}
}

// close ends its input, and with that what it does.
func (p *process) close() { p.in.Close() }

// result waits for its result.
func (p *process) result(to any) {
	p.t.Helper()
	defer p.watchdog()()
	if err := json.NewDecoder(p.out).Decode(to); err != nil {
		p.kill()
		p.t.Fatalf("the %s: %v: %s", p.role, err, p.err.String())
	}
	p.kill()
}

// watchdog kills a process that hangs.
func (p *process) watchdog() (stop func()) {
	t := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	return func() { t.Stop() }
}

func (p *process) kill() {
	p.ended.Do(func() {
		p.cmd.Process.Kill()
		p.in.Close()
		p.cmd.Wait()
	})
}
