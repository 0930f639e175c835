package extcap

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// isolate keeps the namespaces that this user publishes out of a test, unless the user is root.
func isolate(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

// offer offers a namespace with these devices.
func offer(t *testing.T, path string, names ...string) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for _, name := range names {
		if _, err := ns.AddDevice(rxring.DeviceConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
}

// TestNamesOfAnyDevice lists devices and sockets whose names have what ends an attribute or
// separates names, and finds each by the name that is listed.
func TestNamesOfAnyDevice(t *testing.T) {
	dir := isolate(t)
	devices := []string{"eth0", "a}{b=c", "100%", "\x1b[2Jx", "käse", "a-b_c.d@e"}
	others := []string{filepath.Join(dir, "a:b.sock"), filepath.Join(dir, "c}.sock"), filepath.Join(dir, "sub", "c}.sock")}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range others {
		offer(t, path, devices...)
	}
	all, _ := List(t.Context(), others)
	var b bytes.Buffer
	if err := PrintInterfaces(&b, "v}{1", all); err != nil {
		t.Fatal(err)
	}
	listed := 0
	seen := make(map[string]bool)
	for line := range strings.Lines(b.String()) {
		rest, ok := strings.CutPrefix(line, "interface {value=rxring:")
		if !ok {
			continue
		}
		name, display, ok := strings.Cut(rest, "}{display=rxring at ")
		if !ok || strings.ContainsAny(name, "{}/ \x1b") || strings.ContainsAny(strings.TrimSuffix(display, "}\n"), "{}\x1b\n") || seen[name] {
			t.Errorf("line %q", line)
		}
		seen[name] = true
		i, err := open(t.Context(), "rxring:"+name, others)
		if err != nil {
			t.Error(err)
		}
		if i.Name != "rxring:"+name {
			t.Errorf("%q is found as %q", name, i.Name)
		}
		listed++
	}
	if want := len(devices) * len(others); listed < want {
		t.Errorf("%d interfaces of %d:\n%s", listed, want, &b)
	}
	if n := strings.Count(b.String(), "{version=v)(1}"); n != 1 {
		t.Errorf("the version is printed as %q", b.String())
	}
}

// TestSilentOwnerCostsOthersNothing lists the devices of one namespace beside a socket at which
// a process listens that does not answer.
func TestSilentOwnerCostsOthersNothing(t *testing.T) {
	need.Time(t, "it waits for a silent server")
	dir := isolate(t)
	silent, good := filepath.Join(dir, "silent.sock"), filepath.Join(dir, "good.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: silent, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	offer(t, good, "eth0")
	all, errs := List(t.Context(), []string{silent, good})
	found := false
	for _, i := range all {
		found = found || i.Name == "rxring:good:eth0"
	}
	if !found {
		t.Errorf("listed %v", all)
	}
	var named bool
	for _, err := range errs {
		named = named || strings.Contains(err.Error(), silent)
	}
	if !named {
		t.Errorf("no error names %s: %v", silent, errors.Join(errs...))
	}
}

// TestScriptRunsAnyProgram installs a program and a socket whose names a shell would change.
func TestScriptRunsAnyProgram(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, `it's "$HOME"; prog`)
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '<%s>' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	paths, err := Install([]string{filepath.Join(dir, "new", "extcap")}, program, []string{"/a b/$(c).sock"})
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	out, err := exec.Command(paths[0], "--extcap-interface", "x y").CombinedOutput()
	if want := "<extcap><--at></a b/$(c).sock><--extcap-interface><x y>"; string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(paths[0]), ".*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}
