package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An error in a file for one system, or in its test, is found for that system only.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":            "module example.org/m\n\ngo 1.26\n",
		"m.go":              "package m\n\nimport \"os\"\n\nvar _ = os.Args\n",
		"m_windows.go":      "package m\n\nvar x int = \"text\"\n",
		"m_windows_test.go": "package m\n\nfunc f() int { return y }\n",
		"m_darwin.go":       "package m\n\nimport \"syscall\"\n\nvar _ = syscall.Getpid()\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOWORK", "off")
	for system, want := range map[string][]string{
		"linux/arm64":   nil,
		"darwin/arm64":  nil,
		"windows/amd64": {"m_windows.go:3", "m_windows_test.go:3"},
	} {
		var out bytes.Buffer
		found, err := check(dir, system, []string{"./..."}, &out)
		if err != nil || found != len(want) {
			t.Errorf("%s: found %d, %v, want %d:\n%s", system, found, err, len(want), &out)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: %q is not in\n%s", system, w, &out)
			}
		}
	}
	if found, err := check(dir, "linux/arm64", []string{"./none/..."}, io.Discard); found == 0 && err == nil {
		t.Error("no error where no package matches")
	}
}
