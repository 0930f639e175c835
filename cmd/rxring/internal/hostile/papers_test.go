package hostile

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../../../.."

// TestTheThreatModelNamesTests: each property that docs/threat-model.md claims names a
// test that exists.
func TestTheThreatModelNamesTests(t *testing.T) {
	text := read(t, filepath.Join(top, "docs/threat-model.md"))
	_, claims, ok := strings.Cut(text, "\n## What holds\n")
	claims, _, ok2 := strings.Cut(claims, "\n## What does not hold\n")
	if !ok || !ok2 {
		t.Fatal("there are no claims")
	}
	named := regexp.MustCompile("`(?:([a-z/]+)\\.)?((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(claims, -1)
	for _, m := range named {
		dir, name := m[1], m[2]
		if !declares(t, filepath.Join(top, dir), name) {
			t.Errorf("docs/threat-model.md names %s: there is no such test", strings.Trim(m[0], "`"))
		}
	}
	for _, m := range regexp.MustCompile("`([a-z_]+\\.txtar)`").FindAllStringSubmatch(claims, -1) {
		if _, err := os.Stat(filepath.Join(top, "cmd/rxring/testdata/script", m[1])); err != nil {
			t.Errorf("docs/threat-model.md: %v", err)
		}
	}
	if len(named) < 20 {
		t.Errorf("docs/threat-model.md names %d tests: want one for each line", len(named))
	}
	for line := range strings.Lines(claims) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| |") && !strings.Contains(line, "`") {
			t.Errorf("docs/threat-model.md: this names no test: %s", line)
		}
	}
}

// declares reports whether one of a directory's tests has the name.
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.Contains(read(t, f), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
