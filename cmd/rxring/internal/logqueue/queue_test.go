package logqueue

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
		q := New(&out, json)
		q.Logger(slog.LevelInfo).Info("audit", "command", command)
		q.Close()
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q", out.String())
		}
		if !strings.Contains(out.String(), `\u202eevil\r`) {
			t.Errorf("%q does not say what it was", out.String())
		}
	}
}

// blocked is a writer that blocks until it is closed.
type blocked struct{ free chan struct{} }

func (b blocked) Write(text []byte) (int, error) {
	<-b.free
	return len(text), nil
}

// A log's reader that does not read delays no writer, and the lines that it misses are counted.
func TestALogThatIsNotRead(t *testing.T) {
	b := blocked{make(chan struct{})}
	q := New(b, false)
	log := q.Logger(slog.LevelInfo)
	for range 2 * maxQueued / 100 {
		log.Info("session", "text", strings.Repeat("x", 100))
	}
	if q.Lost() == 0 {
		t.Error("no line was lost")
	}
	close(b.free)
	q.Close()
}
