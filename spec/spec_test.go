package spec_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

// TestVerdicts explores every model and compares the verdicts with the expected
// ones; see README.md.
func TestVerdicts(t *testing.T) {
	need.Time(t, "exploring the models takes half a minute")
	need.Program(t, "spin", "cc")
	readModels(t)
	out, err := exec.CommandContext(t.Context(), "../scripts/spec").CombinedOutput()
	if err != nil {
		t.Fatalf("scripts/spec: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestRunnerNoticesWrongVerdicts gives the runner tables that are wrong.
func TestRunnerNoticesWrongVerdicts(t *testing.T) {
	need.Time(t, "it compiles models")
	need.Program(t, "spin", "cc")
	readModels(t)
	for _, tt := range []struct{ name, row, want string }{
		{"a race that it should find safe", "unguarded WRITERS=2,SLOTS=1,PACKETS=2 lawful one holds", "want holds, got violated"},
		{"a safe design that it should find broken", "owner-map WRITERS=2,SLOTS=1,PACKETS=1 lawful one violated", "want violated, got holds"},
		{"a model that does not parse", "owner-map WRITERS=2,SLOTS=1,PACKETS=1 nobody one holds", "got no verdict"},
		{"a model that is not there", "wishful - - one holds", "want a model in spec/"},
		{"nothing", "# empty", "no row"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := t.TempDir() + "/verdicts"
			if err := os.WriteFile(table, []byte(tt.row+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "../scripts/spec", table).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.want) {
				t.Fatalf("got %v, want a failure that says %q; output:\n%s", err, tt.want, out)
			}
		})
	}
}

// readModels lets go test know what the tests' result depends on, so that a result from its cache
// is of the models as they are: it does not see what other programs read.
func readModels(t *testing.T) {
	t.Helper()
	models, err := filepath.Glob("*.pml")
	if err != nil || len(models) == 0 {
		t.Fatalf("spec/*.pml: %d files: %v", len(models), err)
	}
	for _, name := range append(models, "verdicts", "../scripts/spec") {
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
}
