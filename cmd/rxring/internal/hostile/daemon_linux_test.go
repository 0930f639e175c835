package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// daemon is a rxring serve.
type daemon struct {
	t     testing.TB
	cmd   *exec.Cmd
	at    string // its socket
	log   string // a file
	ended chan struct{}

	inOrder bool
}

// program is the rxring of this tree, or -hostile.rxring.
var program = sync.OnceValues(func() (string, error) {
	if *otherProgram != "" {
		return filepath.Abs(*otherProgram)
	}
	dir, err := os.MkdirTemp("", "rxring-hostile")
	if err != nil {
		return "", err
	}
	cleanUp = append(cleanUp, func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "rxring")
	if said, err := exec.Command("go", "build", "-o", path, "github.com/rxring/rxring/cmd/rxring").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, said)
	}
	return path, nil
})

// serve starts a daemon at the wire's far end.
func serve(t testing.TB, w *wire, a attack) *daemon {
	t.Helper()
	path, err := program()
	must(t, err)
	dir, err := os.MkdirTemp("", "rxring-hostile") // not t.TempDir, where no other user may look
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	d := &daemon{t: t, at: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	config := filepath.Join(dir, "rxring.toml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `at = %q
mode = "0666"
[[source]]
from = "iface:%s"
[[allow]]
users = [%d]
[[allow]]
users = [%s]
%s
[[allow]]
page = true
snaplen = "headers"
`, d.at, deviceName, victimUID, strings.Trim(strings.ReplaceAll(fmt.Sprint(a.attackers()), " ", ", "), "[]"), a.rule), 0o644))
	log, err := os.Create(d.log)
	must(t, err)
	defer log.Close()
	d.cmd = exec.Command(path, "serve", "--config", config)
	if a.page {
		d.cmd.Args = append(d.cmd.Args, "--http", "unix:"+pageOf(d.at))
	}
	d.cmd.Stderr = log
	if a.group != nil {
		a.group.enter(d.cmd)
	}
	must(t, w.far.Do(func() error { return startAt(priority, d.cmd) })) // in the namespace of the thread that starts it
	go func() {
		d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-d.ended
		if t.Failed() && !d.inOrder {
			t.Logf("the end of the daemon's log:\n%s", d.tail(2<<10))
		}
	})
	return d
}

// await waits until the daemon listens.
func (d *daemon) await() {
	d.t.Helper()
	d.awaitFile(d.at)
}

// openPage lets every user connect to the page.
func (d *daemon) openPage() {
	d.t.Helper()
	d.awaitFile(pageOf(d.at))
	must(d.t, os.Chmod(pageOf(d.at), 0o666))
}

func (d *daemon) awaitFile(path string) {
	d.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("the daemon does not listen: %s", d.tail(2<<10))
		}
	}
}

// end ends the daemon as systemd does. It must do so in time.
func (d *daemon) end() {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.t.Error("the daemon does not end")
		return
	}
	if !d.cmd.ProcessState.Success() {
		d.t.Errorf("the daemon ended with %v", d.cmd.ProcessState)
		return
	}
	d.inOrder = true
}

// tail is the last bytes of its log.
func (d *daemon) tail(n int) []byte {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-n):]
}
