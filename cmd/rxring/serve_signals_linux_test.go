package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// startDaemon starts `rxring serve`, and does not wait until it offers anything.
func startDaemon(t *testing.T) (cmd *exec.Cmd, path string, ended chan error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "rx.sock")
	cmd = exec.Command(filepath.Join(sharedDir(t), "rxring"), "serve", "--at", path, "--from", "streams:0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, path, ended
}

// SIGTERM ends the daemon at whatever moment it comes, while it executes itself again, too.
func TestSIGTERMWhileTheDaemonStarts(t *testing.T) {
	need.Time(t, "it starts many daemons")
	for i := range 40 {
		cmd, _, ended := startDaemon(t)
		time.Sleep(time.Duration(i) * 3 * time.Millisecond)
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("it goes on, %d ms after it was started", i*3)
		}
	}
}

// A daemon that executes itself again has read its file anew anyway: SIGHUP does not end it.
func TestSIGHUPWhileTheDaemonStarts(t *testing.T) {
	need.Time(t, "it starts rxring many times")
	for range 5 {
		cmd, path, ended := startDaemon(t)
		again := false
		for deadline := time.Now().Add(time.Minute); !again && time.Now().Before(deadline); {
			env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid))
			again = bytes.Contains(env, []byte("RXRING_SANDBOX="))
		}
		if !again {
			t.Fatal("it does not execute itself again")
		}
		cmd.Process.Signal(syscall.SIGHUP)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			c, err := attach.Dial(t.Context(), path)
			if err == nil {
				c.Close()
				break
			}
			if len(ended) > 0 || time.Now().After(deadline) {
				t.Fatal(err, cmd.ProcessState)
			}
		}
		cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
