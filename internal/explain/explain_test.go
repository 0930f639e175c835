package explain_test

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/explain"
)

func TestAnExplainedErrorIsItsSentenceAndMatchesItsCause(t *testing.T) {
	err := os.NewSyscallError("bind", explain.Errorf(syscall.ENODEV, "there is no device %q: %w", "net1", os.ErrDeadlineExceeded))
	if got, want := err.Error(), `bind: there is no device "net1": i/o timeout`; got != want {
		t.Errorf("%q: want %q", got, want)
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno != syscall.ENODEV || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("errno %v; it should be ENODEV and the deadline's", errno)
	}
	if errors.Is(err, syscall.EINVAL) {
		t.Error("it is EINVAL, too")
	}
	if err := explain.Errorf(syscall.EEXIST, "taken"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v is not fs.ErrExist", err)
	}
}
