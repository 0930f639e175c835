package need

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSkipped prints which tests of earlier runs were skipped, as the file that
// RXRING_SKIPPED names has them. It is the last step of `make test`.
func TestSkipped(t *testing.T) {
	path := os.Getenv("RXRING_SKIPPED")
	if path == "" {
		t.Log("RXRING_SKIPPED is not set: `make test` does so")
		return
	}
	records, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Print(summary(records))
	for _, r := range records {
		if required := os.Getenv("RXRING_REQUIRE"); r.requiredBy(required) {
			t.Errorf("%s.%s: %s; RXRING_REQUIRE=%s does not allow that", r.Package, r.Test, r.Why, required)
		}
	}
}

// read returns the records in the file, none if it does not exist.
func read(path string) (all []record, err error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
		}
		all = append(all, r)
	}
	return all, lines.Err()
}

func TestSkipIsRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skipped")
	t.Setenv("RXRING_SKIPPED", path)
	t.Setenv("RXRING_REQUIRE", "root")
	t.Run("program", func(t *testing.T) {
		Program(t, "sh", "no-such-program")
		t.Error("the test goes on without its program")
	})
	t.Run("kernel", func(t *testing.T) {
		Skip(t, Kernel, "no namespace: %v", os.ErrPermission)
	})
	if err := Lacking("script", Programs, "no-such-program", "no-such-program is not installed"); err != nil {
		t.Error(err)
	}
	if err := Lacking("script", Privilege, "", "only root can mount"); err == nil || !strings.Contains(err.Error(), "RXRING_REQUIRE=root") {
		t.Errorf("root is required: got error %v", err)
	}
	records, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	const pkg = "rxring/internal/need."
	want := "4 tests were skipped, or ran in part:\n" +
		"  kernel: no namespace: permission denied (1): " + pkg + "TestSkipIsRecorded/kernel\n" +
		"  programs: no-such-program is not installed (2): " + pkg + "TestSkipIsRecorded/program " + pkg + "script\n" +
		"  root: only root can mount (1): " + pkg + "script\n"
	twice := append(records, records...)
	if got := summary(twice); got != want {
		t.Errorf("summary:\n%s\nwant:\n%s", got, want)
	}
	for i, r := range twice {
		if r != records[i%len(records)] {
			t.Errorf("summary changed record %d to %+v", i, r)
		}
	}
}

func TestRequired(t *testing.T) {
	tcpdump := record{Kind: Programs, Program: "tcpdump"}
	for _, tt := range []struct {
		list string
		r    record
		want bool
	}{
		{"", tcpdump, false},
		{"all", tcpdump, true},
		{"programs", tcpdump, true},
		{"root,tcpdump", tcpdump, true},
		{"root,kernel,tshark", tcpdump, false},
		{"kernel", record{Kind: Kernel}, true},
		{"all", record{Kind: Inapplicable}, false},
	} {
		if got := tt.r.requiredBy(tt.list); got != tt.want {
			t.Errorf("RXRING_REQUIRE=%q, %+v: required %v, want %v", tt.list, tt.r, got, tt.want)
		}
	}
}
