package modules

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// root is the top of the repository.
const root = "../.."

const core = "github.com/rxring/rxring"

// released are the directories of the modules that have version tags.
var released = []string{".", "capture/gopacketsource", "cmd/rxring", "fleet", "source/file", "source/netstack"}

// proxy is a GOPROXY with the modules of this working tree, at the version at which
// they require each other.
type proxy struct {
	dir     string
	version string
	env     []string
}

// newProxy packs the modules.
func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{dir: t.TempDir(), version: commonVersion(t)}
	files := strings.Split(strings.TrimSpace(run(t, root, nil, "git", "ls-files", "-co", "--exclude-standard")), "\n")
	for _, dir := range released {
		p.pack(t, dir, files)
	}

	// What this machine has downloaded before need not be downloaded again. Only the
	// modules of this tree are in no checksum database.
	previous := goEnv(t, "GOPROXY")
	downloaded := "file://" + filepath.ToSlash(goEnv(t, "GOMODCACHE")) + "/cache/download"
	p.env = append(os.Environ(),
		"GOWORK=off", "CGO_ENABLED=0",
		"GOFLAGS=-mod=mod -trimpath -modcacherw -buildvcs=false", // -trimpath: GOMODCACHE is no part of the build cache's keys
		"GOPROXY=file://"+filepath.ToSlash(p.dir)+","+downloaded+","+previous,
		"GONOSUMDB="+core,
		"GOMODCACHE="+t.TempDir(),
	)
	return p
}

// commonVersion is the one version at which the modules require each other.
func commonVersion(t *testing.T) (version string) {
	t.Helper()
	for _, dir := range released {
		for _, r := range readGoMod(t, dir).Require {
			if r.Mod.Path != core && !strings.HasPrefix(r.Mod.Path, core+"/") {
				continue
			}
			if version != "" && r.Mod.Version != version {
				t.Fatalf("%s/go.mod requires %v: want %s, as elsewhere", dir, r.Mod, version)
			}
			version = r.Mod.Version
		}
	}
	return version
}

// pack adds the module in dir, of the repository's files, to the proxy.
func (p *proxy) pack(t *testing.T, dir string, files []string) {
	t.Helper()
	mod := readGoMod(t, dir)
	m := module.Version{Path: mod.Module.Mod.Path, Version: p.version}
	if want := path.Join(core, dir); m.Path != want {
		t.Errorf("%s/go.mod is of module %s: want %s", dir, m.Path, want)
	}
	if len(mod.Replace) > 0 || len(mod.Exclude) > 0 {
		t.Errorf("%s/go.mod has replace or exclude directives: go install refuses a module with them", dir)
	}

	at := filepath.Join(p.dir, filepath.FromSlash(m.Path), "@v")
	if err := os.MkdirAll(at, 0o777); err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if err := zip.Create(&content, m, contents(dir, files)); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"list":              []byte(m.Version + "\n"),
		m.Version + ".info": fmt.Appendf(nil, `{"Version":%q}`, m.Version),
		m.Version + ".mod":  read(t, filepath.Join(root, dir, "go.mod")),
		m.Version + ".zip":  content.Bytes(),
	} {
		write(t, filepath.Join(at, name), data)
	}
}

// contents are the files of the module in dir, and the repository's license: those
// below dir that are in no module within it.
func contents(dir string, files []string) []zip.File {
	inner := func(file string) bool {
		for d := path.Dir(file); d != dir && d != "."; d = path.Dir(d) {
			if slices.Contains(files, d+"/go.mod") {
				return true
			}
		}
		return false
	}
	in := []zip.File{file{"LICENSE", "LICENSE"}}
	for _, f := range files {
		name := f
		if dir != "." {
			var ok bool
			if name, ok = strings.CutPrefix(f, dir+"/"); !ok {
				continue
			}
		}
		if name != "LICENSE" && !inner(f) {
			in = append(in, file{name, f})
		}
	}
	return in
}

// file is a zip.File: at a path in a module and in the repository.
type file struct{ name, source string }

func (f file) Path() string                 { return f.name }
func (f file) Lstat() (os.FileInfo, error)  { return os.Lstat(filepath.Join(root, f.source)) }
func (f file) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(root, f.source)) }

// run runs a command in dir with the environment env, nil: this process's, and
// returns its standard output.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, out, stderr.String())
	}
	return string(out)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "", nil, "go", "env", name))
}

func readGoMod(t *testing.T, dir string) *modfile.File {
	t.Helper()
	name := filepath.Join(root, dir, "go.mod")
	f, err := modfile.Parse(name, read(t, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
}
