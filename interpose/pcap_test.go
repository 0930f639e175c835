//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

// epollpcap compiles testdata/epollpcap.c, once, to a file that every user may execute.
var epollpcap = sync.OnceValues(func() (string, error) {
	if _, err := story(); err != nil { // makes the directory
		return "", err
	}
	bin := filepath.Join(storyDir, "epollpcap")
	out, err := exec.Command("cc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", bin, "testdata/epollpcap.c", "-lpcap").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return bin, err
})

// A busy machine may leave the program too little time: then the packets that it missed were
// counted as dropped.
var toldToEnd = regexp.MustCompile(`told to end: ([0-9]+) missed, ([0-9]+) dropped`)

// A program with libpcap and epoll sees every packet that had room, until it is told to end.
func TestEventLoopOnLibpcapSeesEveryPacket(t *testing.T) {
	need.Time(t, "it runs eight captures")
	needStory(t)
	if out, err := exec.Command("sh", "-c", "echo '#include <pcap/pcap.h>' | cc -E - >/dev/null").CombinedOutput(); err != nil {
		need.Skip(t, need.Programs, "no libpcap headers (Debian: libpcap-dev): %s", out)
	}
	bin, err := epollpcap()
	if err != nil {
		t.Fatal(err)
	}
	for nth, c := range []struct{ how, version string }{
		{"immediate level", "V2"}, {"immediate edge", "V2"}, {"buffered edge", "V3"}, {"buffered level", "V3"},
	} {
		for _, s := range situations(t, nth) {
			t.Run(s.user+"/"+c.how+"/"+s.place.host("run"), func(t *testing.T) {
				t.Parallel()
				h := startHost(t, s.place.host("run"), s.uid, append([]string{bin, "net0"}, strings.Fields(c.how)...)...)
				h.await(t, "seen 500")
				h.cmd.Process.Signal(syscall.SIGTERM)
				out, code := h.wait()
				missed, dropped := 1, 0
				if told := toldToEnd.FindStringSubmatch(out); told != nil {
					missed, _ = strconv.Atoi(told[1])
					dropped, _ = strconv.Atoi(told[2])
				}
				if code != 0 || missed > dropped || !strings.Contains(out, "socket: net0: "+c.version+" ring") {
					t.Errorf("exit code %d:\n%s", code, out)
				}
			})
		}
	}
}
