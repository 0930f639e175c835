// Package feedtest makes sources for tests.
package feedtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

// Endless is a source that takes very long to inspect: a capture file of 1 TiB, of which
// nothing but the header is on the disk.
func Endless(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "endless.pcap")
	header := "\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00"
	if err := os.WriteFile(path, []byte(header), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		need.Skip(t, need.System, "no sparse files: %v", err)
	}
	return "file:" + path
}
