package kringtest

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
)

const childEnv = "RXRING_KRING_CHILD"

// Run calls fn with a new namespace. Where this process may not make one, it
// runs the calling test once more in a child process with a user namespace of
// its own, and reports what the child reports. When that is not allowed either,
// the test is skipped and says why.
//
// t must be a top-level test, and Run the whole of it. A test that makes devices
// calls [NeedDevices] first thing in fn.
func Run(t *testing.T, fn func(ns *kring.Namespace)) {
	t.Helper()
	ns, err := kring.New()
	if err == nil {
		t.Cleanup(ns.Close)
		fn(ns)
		return
	}
	if os.Getenv(childEnv) != "" {
		need.Skip(t, need.Kernel, "in a user namespace: %v", err)
	}
	runChild(t, err)
}

// NeedDevices skips the test with the reason where TAP and TUN devices cannot be
// made: in a user namespace /dev/net/tun keeps the permissions that the machine
// gives it.
func NeedDevices(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		need.Skip(t, need.Kernel, "no TAP or TUN devices: %v", err)
	}
	f.Close()
}

func runChild(t *testing.T, why error) {
	t.Helper()
	args := []string{"-test.run=^" + regexp.QuoteMeta(t.Name()) + "$", "-test.v", "-test.count=1"}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		need.Skip(t, need.Kernel, "no network namespace (%v) and no user namespace (%v)", why, err)
	}
	err := cmd.Wait()
	switch {
	case err != nil:
		t.Fatalf("in a user namespace: %v\n%s", err, &out)
	case bytes.Contains(out.Bytes(), []byte("--- SKIP: "+t.Name()+" ")):
		t.Skipf("%s", &out) //need: the child has recorded it
	case !bytes.Contains(out.Bytes(), []byte("--- PASS: "+t.Name()+" ")):
		t.Fatalf("the child in a user namespace ran no test:\n%s", &out)
	}
	t.Logf("in a user namespace:\n%s", &out)
}
