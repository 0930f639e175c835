package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const core = "github.com/rxring/rxring"

// Each room refuses what is below it in the table of docs/rooms.md, and modules that
// only other modules of the repository may require.
func TestRulesRefuse(t *testing.T) {
	rules, err := filepath.Abs("../../.depguard.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file, imports string
		allowed       bool
	}{
		{"device.go", "golang.org/x/sys/unix", true},
		{"device.go", core + "/ring", true},
		{"device.go", core + "/attach", false},
		{"device_test.go", core + "/attach", true},
		{"device.go", "gvisor.dev/gvisor/pkg/tcpip/stack", false},
		{"tpacket/layout.go", core + "/ring", false},
		{"cbpf/fuse.go", core, false},
		{"ring/frame.go", core + "/internal/notify", true},
		{"ring/frame.go", core, false},
		{"attach/peer.go", core, true},
		{"attach/peer.go", core + "/interpose", false},
		{"capture/device.go", core + "/interpose", false},
		{"capture/device.go", "github.com/gopacket/gopacket", false},
		{"interpose/sockets.go", core + "/attach", true},
		{"interpose/sockets.go", core + "/source/iface", false},
		{"internal/writer/ring.go", core + "/ring", true},
		{"internal/writer/ring.go", core, false},
		{"source/iface/tap_linux.go", core + "/attach", false},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, tt.file)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("package p\n\nimport _ \""+tt.imports+"\"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		found, err := check(rules, strings.NewReader(name+"\n"), &out)
		if err != nil {
			t.Fatal(err)
		}
		if allowed := found == 0; allowed != tt.allowed {
			t.Errorf("%s imports %s: allowed %v, want %v: %s", tt.file, tt.imports, allowed, tt.allowed, out.String())
		}
	}
}
