package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// TestTopOfAServer runs the program; what it says of packets is cmd/rxring/internal/top's to
// test.
func TestTopOfAServer(t *testing.T) {
	need.Time(t, "it builds rxring")
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	program := filepath.Join(sharedDir(t), "rxring")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program, append([]string{"top", "--at", path}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Fatalf("rxring top %v: %v: %s", args, err, stderr.String())
		}
		return string(out)
	}

	text := run("--once", "--interval", "50ms")
	for _, want := range []string{"rxring top  " + path + "  1 device, 0 readers", "  wg0         raw-ip    up     1420", "No readers. Try:\n  rxring run --at " + path + " -- tcpdump -i wg0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(run("--count", "2", "--interval", "20ms"), "rxring top  "); n != 2 {
		t.Errorf("%d frames, want 2", n)
	}
	lines := strings.Split(strings.TrimSpace(run("--json", "--count", "3", "--interval", "20ms")), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3: %q", len(lines), lines)
	}
	for _, l := range lines {
		var st attach.Status
		if err := json.Unmarshal([]byte(l), &st); err != nil || len(st.Devices) != 1 || st.Devices[0].Name != "wg0" {
			t.Errorf("%v: %s", err, l)
		}
	}
}
