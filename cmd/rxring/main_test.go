package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rxring/rxring/cmd/rxring/internal/reaper"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/onecpu"
	"github.com/rxring/rxring/internal/racetest"
)

func TestMain(m *testing.M) {
	reaper.Init()
	racetest.NoExitSleep()
	// Scripts mostly wait, so there are more than processors, unless -parallel says otherwise.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testscript.Main(cleanUp{m}, map[string]func(){"rxring": main, "killserver": killServer})
}

// cleanUp removes the program that sharedDir has built, after all tests.
type cleanUp struct{ *testing.M }

func (m cleanUp) Run() int {
	defer func() { os.RemoveAll(buildDir) }()
	return m.M.Run()
}

// TestScript runs testdata/script: sessions at a terminal, as a user has them.
//
// In a script, `asuser PROGRAM` runs it as an ordinary user: without any
// capability, and when the tests run as root, as nobody. [NAME] holds where the
// program NAME is installed, [interpose] where rxring can run one, [root] where
// root runs the tests, [container] where podman runs containers here, by `container`, and
// [rootless] where it does so for nobody, by `rootless`. `build DIR` puts the Go program in
// testdata/DIR, under the last element of DIR, into PATH. `static FILE` builds rxring without
// a C library, `package DIR` the Debian package of this machine's architecture; $DIST is dist/.
// What a program does in some time takes longer on a busy machine: see briefly, longer and await.
func TestScript(t *testing.T) {
	need.Time(t, "the scripts run for minutes")
	shared, raced := sharedDir(t), racedDir(t)
	lacks := conditions(t, shared)
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("testdata/script/*.txtar: %d files: %v", len(scripts), err)
	}
	// testscript removes a script's directories only if the script is among those that are run.
	tmp, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "rxring")
	if err != nil {
		t.Fatal(err)
	}
	if flag.Lookup("testwork").Value.String() != "true" {
		t.Cleanup(func() { os.RemoveAll(tmp) })
	}
	t.Setenv("GOTMPDIR", tmp)
	for _, script := range scripts {
		base := strings.TrimSuffix(filepath.Base(script), ".txtar")
		name := t.Name() + "/" + base
		p := params(shared)
		if slices.Contains(racedScripts, base) {
			p = params(raced, shared)
		}
		if !slices.Contains(slices.Concat(racedScripts, allProcessors), base) {
			setup := p.Setup
			p.Setup = func(env *testscript.Env) error {
				onecpu.Programs()
				return setup(env)
			}
		}
		p.Files = []string{script}
		p.Condition = func(cond string) (bool, error) {
			l := lacks(cond)
			if l == nil {
				return true, nil
			}
			return false, need.Lacking(name, l.kind, l.program, l.why)
		}
		testscript.Run(t, p)
	}
}

// racedScripts run rxring with the race detector, if the tests have it: in them, many
// goroutines of a daemon or of an interposer meet.
var racedScripts = []string{"attach_readers", "queue", "serve", "serve_rules", "signals", "top"}

// allProcessors are the other scripts that need more than one processor: of writers that race, of
// what must not be lost, and of loads. The programs of a script that is in neither list share one.
var allProcessors = []string{"fleet_hosts", "fleet_ops", "interactive", "loss", "race", "race_kernel", "sending_live", "serve_veth"}

// params puts dirs, the last of which is a sharedDir, before the others of PATH.
func params(dirs ...string) testscript.Params {
	shared := dirs[len(dirs)-1]
	return testscript.Params{
		Setup: func(env *testscript.Env) error {
			// nobody must be able to come here and to write.
			for dir := env.WorkDir; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
					return err
				}
			}
			env.Setenv("PATH", strings.Join(dirs, ":")+":"+env.Getenv("PATH")+":/usr/sbin:/sbin")
			env.Setenv("NODE_PATH", os.Getenv("NODE_PATH")) // where npm's packages are
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TMPDIR", env.WorkDir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			// tshark starts in little more than half the time if its own directory of extcap
			// programs is empty and, from glibc 2.35 on, malloc uses huge pages. A script that
			// needs these programs unsets WIRESHARK_EXTCAP_DIR.
			env.Setenv("WIRESHARK_EXTCAP_DIR", filepath.Join(shared, "extcap"))
			env.Setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
			env.Setenv("RXRING_LONG", os.Getenv("RXRING_LONG")) // not empty: what takes longer, too
			dist, err := filepath.Abs("../../dist")
			env.Setenv("DIST", dist)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"build": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: build DIR")
				}
				dir := filepath.Join("testdata", args[0])
				program := filepath.Join(shared, filepath.Base(dir))
				once, _ := builds.LoadOrStore(program, sync.OnceValue(func() error { return buildProgram(dir, program) }))
				if err := once.(func() error)(); err != nil {
					ts.Fatalf("%v", err)
				}
			},
			"static": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: static FILE")
				}
				build := exec.Command("go", "build", "-tags", "nolibpcap", "-o", ts.MkAbs(args[0]), ".")
				build.Env = append(os.Environ(), "CGO_ENABLED=0")
				runOrFail(ts, build)
			},
			"package": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: package DIR")
				}
				build := exec.Command("../../scripts/packages", ts.MkAbs(args[0]))
				// Quick to build and to pack: without BUILDFLAGS, most is in Go's cache.
				build.Env = append(os.Environ(), "ARCHS="+runtime.GOARCH, "BUILDFLAGS=", "DPKG_DEB_COMPRESSOR_TYPE=gzip", "DPKG_DEB_COMPRESSOR_LEVEL=1")
				runOrFail(ts, build)
			},
		},
		RequireUniqueNames: true,
	}
}

// builds has a function for each program that scripts build, which builds it once.
var builds sync.Map

// buildProgram builds the Go program in dir, as rxring is built: without cgo, so that most of
// what it imports is in Go's cache. Nobody asks it which commit it is of.
func buildProgram(dir, program string) error {
	build := exec.Command("go", "build", "-C", dir, "-buildvcs=false", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil { // a module of its own
		build.Env = append(build.Env, "GOWORK=off")
	}
	return runCommand(build)
}

// runCommand runs a command. Its error has what the command has said.
func runCommand(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

func runOrFail(ts *testscript.TestScript, cmd *exec.Cmd) {
	if err := runCommand(cmd); err != nil {
		ts.Fatalf("%v", err)
	}
}

// lack describes a condition that does not hold.
type lack struct {
	kind         need.Kind
	program, why string
}

// conditions returns a function that reports why a condition of scripts does not hold,
// nil if it does. It may be called concurrently.
func conditions(t *testing.T, shared string) func(cond string) *lack {
	asuser := filepath.Join(shared, "asuser")
	container, rootless := pods(t, shared)
	probes := map[string]func() *lack{
		"root": func() *lack {
			if os.Geteuid() == 0 {
				return nil
			}
			return &lack{kind: need.Privilege, why: "the tests do not run as root"}
		},
		"interpose":     works(need.System, "rxring cannot interpose on programs", filepath.Join(shared, "rxring"), "run", "--quiet", "--", "true"),
		"userns":        works(need.System, "no user namespaces", asuser, "unshare", "-Ur", "true"),
		"visible":       works(need.System, "/proc hides other users' processes (hidepid)", asuser, "test", "-e", "/proc/1/cmdline"),
		"python3-scapy": works(need.Programs, "/usr/bin/python3 has no scapy", "/usr/bin/python3", "-c", "import scapy.all"),
		"perl-net-pcap": works(need.Programs, "perl has no Net::Pcap", "perl", "-MNet::Pcap", "-e", "1"),
		"node-cap":      works(need.Programs, "node has no package cap", "node", "-e", "require('cap')"),
		"container":     succeeds(need.System, "podman runs no containers", container),
		"rootless":      succeeds(need.System, "podman runs no containers for nobody", rootless),
	}
	return func(cond string) *lack {
		if probe, ok := probes[cond]; ok {
			l := probe()
			if l != nil && l.kind == need.Programs {
				l.program = cond
			}
			return l
		}
		if _, err := exec.LookPath(cond); err != nil {
			return &lack{need.Programs, cond, cond + " is not installed"}
		}
		return nil
	}
}

// works returns a function that runs a command, once, and reports why it fails.
func works(kind need.Kind, why, command string, args ...string) func() *lack {
	return succeeds(kind, why, sync.OnceValue(func() error {
		if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
}

func succeeds(kind need.Kind, why string, probe func() error) func() *lack {
	return func() *lack {
		if err := probe(); err != nil {
			return &lack{kind: kind, why: fmt.Sprintf("%s: %v", why, err)}
		}
		return nil
	}
}

// briefly PROGRAM... interrupts the program, once, after BRIEFLY seconds. To some, twice is
// an error, and timeout without --foreground does it twice.
const briefly = `#!/bin/sh
exec timeout --foreground --preserve-status -s INT "$BRIEFLY" "$@"
`

// longer N CHECK PROGRAM... runs the program with N in BRIEFLY, until the shell command
// CHECK succeeds, which can read what the program has written; each time with twice N.
const longer = `#!/bin/sh
seconds=$1 check=$2
shift 2
for times in 1 2 4 8 16; do
	export BRIEFLY=$((seconds * times))
	"$@" >longer.out 2>longer.err
	status=$?
	cat longer.out longer.err | sh -c "$check" >longer.check && break
done
cat longer.out
cat longer.err >&2
exit $status
`

// awaitScript: await PROGRAM... runs the program until it succeeds, or has failed for a minute.
const awaitScript = `#!/bin/sh
for i in $(seq 600); do "$@" && exit 0; sleep 0.1; done
echo "never: $*" >&2
exit 1
`

// sharedDir is a directory that every user can read, with rxring, asuser, briefly, longer and
// await, and an empty directory extcap.
func sharedDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "rxring-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "extcap"), 0o755); err != nil {
		t.Fatal(err)
	}
	asuser := "#!/bin/sh\nexec \"$@\"\n"
	if os.Geteuid() == 0 {
		asuser = `#!/bin/sh
exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"
`
	}
	for name, text := range map[string]string{"asuser": asuser, "briefly": briefly, "longer": longer, "await": awaitScript} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(program, filepath.Join(dir, "rxring")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var buildDir string // where build puts the program

// build builds rxring, once, as users have it: without the race detector, under which most
// scripts take several times longer and which has nothing to find in them.
var build = sync.OnceValues(func() (program string, err error) {
	if buildDir, err = os.MkdirTemp("", "rxring-build"); err != nil {
		return "", err
	}
	program = filepath.Join(buildDir, "rxring")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return program, runCommand(cmd)
})

// racedDir is a directory whose rxring is the test binary, which is rxring when it is
// called so (see TestMain): with the race detector, if the tests have it.
func racedDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "rxring-raced")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := runCommand(exec.Command("install", "-m", "0755", self, filepath.Join(dir, "rxring"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestReadmeExampleIsWhatTheScriptsRun: the calls of README's three lines are in
// examples/wireguard and examples/lend, which examples.txtar builds and runs.
func TestReadmeExampleIsWhatTheScriptsRun(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var programs []byte
	for _, example := range []string{"wireguard", "lend"} {
		program, err := os.ReadFile("../../examples/" + example + "/main.go")
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, program...)
	}
	for _, call := range []string{"rxring.NewNamespace(rxring.NamespaceConfig{})", "tun.Add(ns, ", "tun.Config{", "attach.Publish(ns, "} {
		if !strings.Contains(string(readme), call) {
			t.Errorf("README has no example of %s", call)
		}
		if !bytes.Contains(programs, []byte(call)) {
			t.Errorf("examples/wireguard and examples/lend do not call %s, as README does", call)
		}
	}
}
