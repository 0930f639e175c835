package attach_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

// publishing has this test's processes publish in a directory of its own, which it returns.
func publishing(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv(attach.PublishEnv, "1")
	t.Cleanup(attach.SetRootRuntimeDir(dir))
	return filepath.Join(dir, "rxring")
}

func TestAPublishedNamespaceIsFoundByName(t *testing.T) {
	dir := publishing(t)
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	_, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0"})
	must(t, err)
	if all, err := attach.ListPublished(); len(all) != 0 || err != nil {
		t.Errorf("%v, %v: want none before the directory is there", all, err)
	}
	published, err := attach.Publish(ns, "my-vpn_1")
	must(t, err)
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("directory of mode %v", info.Mode())
	}
	me := attach.Published{Name: "my-vpn_1", PID: os.Getpid(), Path: fmt.Sprintf("%s/my-vpn_1@%d", dir, os.Getpid())}
	for _, name := range []string{"my-vpn_1", me.String()} {
		if found, err := attach.Find(name); err != nil || found != me {
			t.Errorf("%s: %+v, %v; want %+v", name, found, err, me)
		}
	}
	c, err := attach.DialPublished(t.Context(), "my-vpn_1")
	must(t, err)
	if c.PID() != os.Getpid() {
		t.Errorf("offered by process %d; want %d", c.PID(), os.Getpid())
	}
	if _, ok := c.Namespace().DeviceByName("wg0"); !ok {
		t.Error("the namespace has no wg0")
	}
	if must(t, c.Close()); c.Err().Error() != "attach my-vpn_1: closed by this process" {
		t.Error(c.Err())
	}
	if _, err := attach.Publish(ns, "my-vpn_1"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("twice in one process: %v", err)
	}
	if _, err := attach.Find("my-vpn_2"); !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), `no process of this user publishes "my-vpn_2": there is my-vpn_1@`) {
		t.Errorf("a name that is not published: %v", err)
	}
	must(t, published.Close())
	if all, err := attach.ListPublished(); len(all) != 0 || err != nil {
		t.Errorf("%v, %v: want none after Close", all, err)
	}
}

func TestPublishIsSwitchedOnByTheEnvironment(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dir := publishing(t)
	for _, v := range []string{"", "0"} {
		t.Setenv(attach.PublishEnv, v)
		p, err := attach.Publish(ns, "vpn")
		must(t, err)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: it publishes: %v", v, err)
		}
		must(t, p.Close())
	}
	t.Setenv(attach.PublishEnv, "yes")
	if _, err := attach.Publish(ns, "vpn"); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), `RXRING_PUBLISH="yes": want 1 to publish, or 0`) {
		t.Errorf("yes: %v", err)
	}
}

func TestPublishErrors(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dir := publishing(t)
	for _, name := range []string{"", "a/b", "a.b", "a@1", "a b", "ä", strings.Repeat("x", 33)} {
		if _, err := attach.Publish(ns, name); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "want 1 to 32 letters, digits, '-' and '_'") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for what, spoil := range map[string]func() error{
		"open to others": func() error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o755)) },
		"a symbolic link": func() error {
			return errors.Join(os.Mkdir(dir+"-other", 0o700), os.Symlink(dir+"-other", dir))
		},
		"a file": func() error { return os.WriteFile(dir, nil, 0o600) },
	} {
		must(t, spoil())
		if _, err := attach.Publish(ns, "vpn"); !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), dir+" has mode") {
			t.Errorf("%s: %v", what, err)
		}
		if all, err := attach.ListPublished(); !errors.Is(err, syscall.EPERM) { // another user may have made it
			t.Errorf("%s: listed: %v, %v", what, all, err)
		}
		must(t, os.Remove(dir))
	}
}

// What processes left behind that ended without Close is not listed, and is removed by the
// next that publishes. Other files stay.
func TestNamesOfEndedProcessesAreGone(t *testing.T) {
	dir := publishing(t)
	must(t, os.Mkdir(dir, 0o700))
	ended := exec.Command("true")
	must(t, ended.Run())
	stale := filepath.Join(dir, fmt.Sprintf("vpn@%d", ended.Process.Pid))
	bindSocket := func(path string, listens bool) {
		t.Helper()
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
		must(t, err)
		must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
		if !listens {
			must(t, syscall.Close(fd))
			return
		}
		must(t, syscall.Listen(fd, 8))
		t.Cleanup(func() { syscall.Close(fd) })
	}
	bindSocket(stale, false)
	far := filepath.Join(dir, fmt.Sprintf("far@%d", ended.Process.Pid)) // the PID is one of another PID namespace
	bindSocket(far, true)
	reused := filepath.Join(dir, fmt.Sprintf("vpn@%d", os.Getppid())) // the PID is another process's by now
	bindSocket(reused, false)
	for _, name := range []string{"vpn", "vpn@0", "vpn@007", "vpn@x", "a.b@12"} {
		bindSocket(filepath.Join(dir, name), false)
	}
	must(t, os.WriteFile(filepath.Join(dir, "file@1"), nil, 0o600))

	list := func() (names []string) {
		t.Helper()
		all, err := attach.ListPublished()
		must(t, err)
		for _, p := range all {
			names = append(names, p.Name)
		}
		return names
	}
	if got := list(); !slices.Equal(got, []string{"far"}) {
		t.Errorf("listed: %q", got)
	}
	p, err := attach.Publish(rxring.NewNamespace(rxring.NamespaceConfig{}), "vpn")
	must(t, err)
	defer p.Close()
	if got := list(); !slices.Equal(got, []string{"far", "vpn"}) {
		t.Errorf("listed: %q", got)
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, path := range []string{stale, reused} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) || len(files) != 8 {
			t.Errorf("%s: %v; %v", path, err, files)
		}
	}
}

func TestANameThatSeveralProcessesPublish(t *testing.T) {
	dir := publishing(t)
	must(t, os.Mkdir(dir, 0o700))
	sleeper := exec.Command("sleep", "60") // any process that is there
	must(t, sleeper.Start())
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	other, err := attach.Listen(filepath.Join(dir, fmt.Sprintf("vpn@%d", sleeper.Process.Pid)), attach.Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
	must(t, err)
	defer other.Close()
	p, err := attach.Publish(rxring.NewNamespace(rxring.NamespaceConfig{}), "vpn")
	must(t, err)
	defer p.Close()
	_, err = attach.Find("vpn")
	if !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), `2 processes of this user publish "vpn": want one of vpn@`) {
		t.Error(err)
	}
	if found, err := attach.Find(fmt.Sprintf("vpn@%d", sleeper.Process.Pid)); err != nil || found.Path != other.Addr() {
		t.Errorf("%+v, %v", found, err)
	}
}
