package dump

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Where other users can put sockets, a flight recorder neither listens nor is looked for.
func TestRecordersAreInAPrivateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "recorders")
	if pids, err := Recorders(dir); err != nil || pids != nil {
		t.Errorf("without a directory: %v, %v", pids, err)
	}
	stop, err := ListenTrigger(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if pids, err := Recorders(dir); err != nil || len(pids) != 1 || pids[0] != os.Getpid() {
		t.Errorf("recorders %v, %v, want %d", pids, err, os.Getpid())
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenTrigger(dir, nil); !errors.Is(err, syscall.EPERM) {
		t.Errorf("listening: %v, want EPERM", err)
	}
	if _, err := Recorders(dir); !errors.Is(err, syscall.EPERM) {
		t.Errorf("listing: %v, want EPERM", err)
	}
	if _, err := Trigger(t.Context(), dir, os.Getpid()); !errors.Is(err, syscall.EPERM) {
		t.Errorf("triggering: %v, want EPERM", err)
	}
}
