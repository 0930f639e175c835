//go:build linux && (amd64 || arm64)

package launcher

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

var job = Job{
	Path: "/usr/bin/tcpdump", Dir: "/", Args: []string{"tcpdump", "", "-i\nany"}, Env: []string{"A=1", "B="},
	Ignored: []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM},
	Filter:  []syscall.SockFilter{{Code: 0x15, Jt: 1, Jf: 2, K: 0xfffffffe}, {Code: 6, K: 0x7fff0000}},
}

func TestMessages(t *testing.T) {
	for _, sent := range []Job{job, {Path: "p", Args: []string{}, Env: []string{}, Filter: []syscall.SockFilter{{Code: 6}}}} {
		var b bytes.Buffer
		if err := SendJob(&b, &sent); err != nil {
			t.Fatal(err)
		}
		whole := b.Bytes()
		if got, err := ReceiveJob(iotest.OneByteReader(&b)); err != nil || !reflect.DeepEqual(*got, sent) {
			t.Errorf("sent %+v, received %+v, %v", sent, got, err)
		}
		for n := range whole {
			if _, err := ReceiveJob(bytes.NewReader(whole[:n])); err == nil || !strings.HasPrefix(err.Error(), "job: ") || !strings.Contains(err.Error(), "EOF") {
				t.Errorf("%d of %d bytes: %v", n, len(whole), err)
			}
		}
	}
	for _, count := range []uint32{0, 1, 1 << 31} {
		var b bytes.Buffer
		binary.Write(&b, binary.NativeEndian, jobHead{Strings: 4, Args: count, Filter: 1})
		b.WriteString("a\x00b\x00" + "instruct") // the path and the directory, and the filter
		if got, err := ReceiveJob(&b); (err == nil) != (count == 0) {
			t.Errorf("%d arguments: %+v, %v", count, got, err)
		}
	}
	for _, h := range []jobHead{{}, {Filter: 4097}, {Strings: 1 << 31, Filter: 1}} {
		var b bytes.Buffer
		binary.Write(&b, binary.NativeEndian, h)
		if _, err := ReceiveJob(&b); err == nil || !strings.HasPrefix(err.Error(), "job: "+strconv.Itoa(int(h.Strings))+" bytes of strings and ") {
			t.Errorf("%+v: %v", h, err)
		}
	}

	var b bytes.Buffer
	sent, got := Event{Kind: Refused, Step: Sendmsg, Value: 0xfffffffe}, Event{}
	if err := Send(&b, sent); err != nil || b.Len() != EventSize {
		t.Errorf("%v, %d bytes", err, b.Len())
	}
	if err := Receive(&b, &got); err != nil || got != sent {
		t.Errorf("sent %+v, received %+v, %v", sent, got, err)
	}
	for step, want := range []string{"PR_SET_CHILD_SUBREAPER", "PR_SET_NO_NEW_PRIVS", "seccomp", "sendmsg"} {
		if got := Step(step).String(); got != want {
			t.Errorf("step %d is %q: want %q", step, got, want)
		}
	}
}

// A launcher that is not one's own child: it says what is missing.
func TestWithoutItsSocket(t *testing.T) {
	if os.Args[0] == Name {
		t.Fatal("the launcher runs tests")
	}
	for _, fd := range []string{"three", "77", "0"} {
		cmd := exec.Cmd{Path: "/proc/self/exe", Args: []string{Name, fd}}
		out, err := cmd.CombinedOutput()
		if text := string(out); err == nil || !strings.HasPrefix(text, Name+": ") || strings.Count(text, "\n") != 1 {
			t.Errorf("descriptor %s: %v: %q", fd, err, text)
		}
	}
}
