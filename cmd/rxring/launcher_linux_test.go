//go:build amd64 || arm64

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The launcher of `rxring run` does not wait for the initialization of what it does not use.
func TestTheLauncherBeginsBeforeOtherPackages(t *testing.T) {
	launcher := exec.Cmd{Path: "/proc/self/exe", Args: []string{"rxring-launcher", "-test.run=^$"}, Env: []string{"GODEBUG=inittrace=1"}}
	out, _ := launcher.CombinedOutput()
	text := string(out)
	if !strings.Contains(text, "init syscall @") || !strings.Contains(text, "rxring-launcher: ") {
		t.Fatalf("it was not traced, or was not the launcher:\n%s", text)
	}
	for _, late := range []string{"encoding/json", "net", "net/http", "github.com/nats-io/nats.go", "github.com/prometheus/client_golang/prometheus"} {
		if strings.Contains(text, "init "+late+" @") {
			t.Errorf("%s was initialized before the launcher began:\n%s", late, text)
		}
	}
}
