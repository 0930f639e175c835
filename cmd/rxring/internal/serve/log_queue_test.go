package serve

import (
	"log/slog"
	"strings"
	"testing"
	"unicode"
)

// A command line may have anything in it.
func TestTheLogHasNoControls(t *testing.T) {
	const command = "sh \x1b[31m\x7f\u009b2J\u202eevil\r"
	for _, json := range []bool{false, true} {
		var out strings.Builder
		q := newLogQueue(&out, json)
		newLogger(q, json, slog.LevelInfo).Info("audit", "command", command)
		q.close()
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q", out.String())
		}
		if !strings.Contains(out.String(), `\u202eevil\r`) {
			t.Errorf("%q does not say what it was", out.String())
		}
	}
}
