//go:build linux && (amd64 || arm64)

package interpose

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Init()
	if story := os.Getenv("RXRING_STORY"); story != "" {
		os.Exit(tell(story))
	}
	goleak.VerifyTestMain(m)
}
