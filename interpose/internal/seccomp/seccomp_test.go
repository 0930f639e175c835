//go:build linux && (amd64 || arm64)

package seccomp

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a filter decides is tested with package interpose's table of system calls.
func TestALongRuleIsRefused(t *testing.T) {
	all := []Condition{{Values: make([]uint32, 300)}}
	_, err := Assemble([]Rule{{NR: 7, Name: "poll", All: all}})
	if err == nil || !strings.Contains(err.Error(), "system call poll (7): want at most 255") {
		t.Errorf("%v", err)
	}
}

func TestAFilterEndsWithAllow(t *testing.T) {
	prog, err := Assemble([]Rule{{NR: 7}, {NR: 8, Action: unix.SECCOMP_RET_ERRNO | 1}, {NR: 7, All: []Condition{{Values: []uint32{1}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if last := prog[len(prog)-1]; last.Code != opRet || last.K != unix.SECCOMP_RET_ALLOW {
		t.Errorf("%+v", last)
	}
	for pc, in := range prog {
		if end := pc + 1 + max(int(in.Jt), int(in.Jf)); end > len(prog) {
			t.Errorf("instruction %d jumps to %d of %d", pc, end, len(prog))
		}
	}
}

func TestAListenerThatIsClosed(t *testing.T) {
	l := NewListener(-1, true)
	if l.Valid(1) || !l.Killable() {
		t.Error("a call is valid")
	}
	for what, err := range map[string]error{"continue": l.Continue(1), "return": l.Return(1, 0), "fail": l.Fail(1, unix.EPERM), "replace": l.Replace(1, 0, 3, true)} {
		if !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if feature, since, err := l.Probe(); err == nil || feature == "" || since == "" {
		t.Errorf("%q, %q, %v", feature, since, err)
	}
}
