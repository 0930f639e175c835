package main

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rxring/rxring/internal/racetest"
	"github.com/rxring/rxring/interpose"
)

func TestMain(m *testing.M) {
	interpose.Init()
	racetest.NoExitSleep()
	// Scripts mostly wait, so there are more than processors, unless -parallel says otherwise.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"rxring": main, "killserver": killServer})
}

// TestScript runs testdata/script: sessions at a terminal, as a user has them.
//
// In a script, `asuser PROGRAM` runs it as an ordinary user: without any
// capability, and when the tests run as root, as nobody. [NAME] holds where the
// program NAME is installed, [interpose] where rxring can run one, [root] where
// root runs the tests, [container] where podman runs containers here, by `container`, and
// [rootless] where it does so for nobody, by `rootless`. `build DIR` puts the Go program in testdata/DIR, under the last element
// of DIR, into PATH.
// What a program does in some time takes longer on a busy machine: see briefly and longer.
func TestScript(t *testing.T) {
	shared := sharedDir(t)
	interposes := sync.OnceValue(func() bool {
		out, err := exec.Command(filepath.Join(shared, "rxring"), "run", "--quiet", "--", "true").CombinedOutput()
		if err != nil {
			t.Logf("SKIPPED: this system does not let rxring run programs: %v: %s", err, out)
		}
		return err == nil
	})
	root, rootless := pods(t, shared)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// nobody must be able to come here and to write.
			for dir := env.WorkDir; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
					return err
				}
			}
			env.Setenv("PATH", shared+string(os.PathListSeparator)+env.Getenv("PATH")+":/usr/sbin:/sbin")
			env.Setenv("NODE_PATH", os.Getenv("NODE_PATH")) // where npm's packages are
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TMPDIR", env.WorkDir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "interpose":
				return interposes(), nil
			case "root":
				return os.Geteuid() == 0, nil
			case "userns":
				return works(t, "user namespaces", filepath.Join(shared, "asuser"), "unshare", "-Ur", "true"), nil
			case "visible":
				return works(t, "a /proc that shows other users' processes (hidepid=off)", filepath.Join(shared, "asuser"), "test", "-e", "/proc/1/cmdline"), nil
			case "python3-scapy":
				return works(t, "scapy for /usr/bin/python3", "/usr/bin/python3", "-c", "import scapy.all"), nil
			case "perl-net-pcap":
				return works(t, "perl's Net::Pcap", "perl", "-MNet::Pcap", "-e", "1"), nil
			case "node-cap":
				return works(t, "npm package cap for node", "node", "-e", "require('cap')"), nil
			case "container":
				return root(), nil
			case "rootless":
				return rootless(), nil
			}
			return installed(t, cond), nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"build": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: build DIR")
				}
				// Some are modules of their own.
				out, err := exec.Command("go", "build", "-C", filepath.Join("testdata", args[0]), "-o", filepath.Join(shared, filepath.Base(args[0])), ".").CombinedOutput()
				if err != nil {
					ts.Fatalf("build %s: %v: %s", args[0], err, out)
				}
			},
		},
		RequireUniqueNames: true,
	})
}

// installed says whether a program is there, and is loud when it is not.
func installed(t *testing.T, program string) bool {
	if _, err := exec.LookPath(program); err != nil {
		t.Logf("SKIPPED: %s is not installed", program)
		return false
	}
	return true
}

// works reports whether a command succeeds, and is loud about what is missing when not.
func works(t *testing.T, what, command string, args ...string) bool {
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		t.Logf("SKIPPED: no %s: %v: %s", what, err, out)
		return false
	}
	return true
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

// sharedDir is a directory that every user can read, with rxring, asuser, briefly and longer.
func sharedDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "rxring-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	asuser := "#!/bin/sh\nexec \"$@\"\n"
	if os.Geteuid() == 0 {
		// Coverage data goes where nobody can write, or each run complains.
		asuser = `#!/bin/sh
if [ -n "${GOCOVERDIR-}" ]; then
	export GOCOVERDIR="$HOME/.cover"
	mkdir -p -m 777 "$GOCOVERDIR"
fi
exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"
`
	}
	for name, text := range map[string]string{"asuser": asuser, "briefly": briefly, "longer": longer} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The test binary is rxring when it is called so: see TestMain.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, "rxring"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestReadmeExampleIsWhatTheScriptsRun: README's lines about package attach are those
// of examples/lend, which examples.txtar and attach.txtar build and run.
func TestReadmeExampleIsWhatTheScriptsRun(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lend, err := os.ReadFile("../../examples/lend/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(readme), "```go\nsrv, err := attach.Listen")
	example, _, ok2 := strings.Cut("srv, err := attach.Listen"+example, "```")
	if !ok || !ok2 {
		t.Fatal("README has no example of attach.Listen")
	}
	left := string(lend)
	for line := range strings.Lines(example) {
		line = strings.TrimSpace(line)
		var found bool
		if _, left, found = strings.Cut(left, line); !found {
			t.Errorf("examples/lend/main.go does not have README's %q, after the lines before it", line)
		}
	}
}
