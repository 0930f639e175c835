// Package need skips tests that lack something on this system, and records each skip.
//
// A skip has a [Kind]. RXRING_REQUIRE is a comma-separated list of kinds and names of
// programs, or "all": a test that lacks one of them fails instead. RXRING_SKIPPED names
// a file to which each skip is appended as a line of JSON; `make test` sets it, and
// prints a summary at the end.
package need

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/racetest"
)

// Kind is what a test lacks.
type Kind string

const (
	Privilege Kind = "root"     // the test must run as root
	Kernel    Kind = "kernel"   // the running kernel's behavior, to compare with
	System    Kind = "system"   // another facility of the system: a file system, cgroups, namespaces
	Programs  Kind = "programs" // programs, headers and libraries that a package installs

	// Inapplicable tests lack nothing: they check another kind of machine or user.
	// RXRING_REQUIRE does not affect them.
	Inapplicable Kind = "inapplicable"
)

// Root skips the test unless it runs as root.
func Root(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, Privilege, "only root can %s", why)
	}
}

// Program skips the test unless all the named programs are installed.
func Program(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			skip(t, record{Kind: Programs, Program: name, Why: name + " is not installed"})
		}
	}
}

// Time skips the test with -short. The skip is not recorded.
func Time(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: " + why) //need: the one place
	}
}

// Serial skips the test under the race detector: one goroutine does most of the work, and
// `make test` runs the package without the race detector, too. The skip is not recorded.
func Serial(t testing.TB) {
	t.Helper()
	if racetest.Enabled {
		t.Skip("-race: the test has one goroutine") //need: the one place
	}
}

// Skip skips the test, which lacks something of the given kind.
func Skip(t testing.TB, kind Kind, format string, args ...any) {
	t.Helper()
	skip(t, record{Kind: kind, Why: fmt.Sprintf(format, args...)})
}

func skip(t testing.TB, r record) {
	t.Helper()
	r.Test = t.Name()
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	t.Skip(r.Why) //need: the one place
}

// Lacking records that part of a test, or all of it, does not run because program is
// missing; kind and why describe something that is not a program. It returns an error
// if RXRING_REQUIRE lists it. Scripts use it for conditions that do not hold.
func Lacking(test string, kind Kind, program, why string) error {
	return record{Test: test, Kind: kind, Program: program, Why: why}.save()
}

// record is a line of the file that RXRING_SKIPPED names.
type record struct {
	Package string
	Test    string
	Kind    Kind
	Program string `json:",omitempty"` // the missing one, if Kind is Programs
	Why     string
}

// save appends r to the file, and returns an error if what is lacking is required.
func (r record) save() error {
	r.Package = testedPackage()
	var err error
	if path := os.Getenv("RXRING_SKIPPED"); path != "" {
		err = r.append(path)
	}
	if required := os.Getenv("RXRING_REQUIRE"); r.requiredBy(required) {
		err = errors.Join(err, fmt.Errorf("%s; RXRING_REQUIRE=%s does not allow that", r.Why, required))
	}
	return err
}

func (r record) append(path string) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("RXRING_SKIPPED: %w", err)
	}
	_, err = f.Write(append(line, '\n')) // one write: lines of other processes do not mix with it
	return errors.Join(err, f.Close())
}

func (r record) requiredBy(list string) bool {
	if r.Kind == Inapplicable {
		return false
	}
	for what := range strings.SplitSeq(list, ",") {
		if what == "all" || what == string(r.Kind) || what != "" && what == r.Program {
			return true
		}
	}
	return false
}

// testedPackage is the import path of the package whose tests run, below the project's.
func testedPackage() string {
	path := filepath.Base(os.Args[0])
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" {
		path = info.Path
	}
	const project = "github.com/rxring/"
	return strings.TrimSuffix(strings.TrimPrefix(path, project), ".test")
}

// byReason orders records for the summary.
func byReason(a, b record) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Why, b.Why), cmp.Compare(a.Package, b.Package), cmp.Compare(a.Test, b.Test))
}

// summary is one line for each reason, with the tests that were skipped for it.
func summary(records []record) string {
	records = slices.Compact(slices.SortedFunc(slices.Values(records), byReason))
	if len(records) == 0 {
		return "no test was skipped\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d tests were skipped, or ran in part:\n", len(records))
	for len(records) > 0 {
		first := records[0]
		n := slices.IndexFunc(records, func(r record) bool { return r.Kind != first.Kind || r.Why != first.Why })
		if n < 0 {
			n = len(records)
		}
		fmt.Fprintf(&b, "  %s: %s (%d):", first.Kind, strings.Join(strings.Fields(first.Why), " "), n)
		for _, r := range records[:n] {
			fmt.Fprintf(&b, " %s.%s", r.Package, r.Test)
		}
		b.WriteByte('\n')
		records = records[n:]
	}
	return b.String()
}
