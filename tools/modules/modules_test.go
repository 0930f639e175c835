package modules

import (
	"debug/buildinfo"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const gvisor = "gvisor.dev/gvisor"

// TestModules packs the modules as they would be released and requires them from
// modules outside the repository.
func TestModules(t *testing.T) {
	p := newProxy(t)

	t.Run("go install", func(t *testing.T) {
		bin := t.TempDir()
		run(t, bin, append(p.env, "GOBIN="+bin), "go", "install", core+"/cmd/rxring@"+p.version)
		if out := run(t, bin, nil, filepath.Join(bin, "rxring"), "version"); !strings.Contains(out, p.version) {
			t.Errorf("rxring version says %q: want %s in it", out, p.version)
		}
	})

	readers := []string{core, core + "/attach", core + "/capture", core + "/interpose", core + "/source/conn", core + "/source/tun"}
	t.Run("the core needs x/sys only", func(t *testing.T) {
		c := newConsumer(t, p, readers, nil)
		c.onlyBuildsWith(t, core, "golang.org/x/sys")
		for _, r := range c.goMod(t).Require {
			if m := r.Mod.Path; m != core && m != "golang.org/x/sys" {
				t.Errorf("a module that imports %q requires %v", readers, r.Mod)
			}
		}
	})

	t.Run("the core leaves a pinned gVisor alone", func(t *testing.T) {
		const july = "v0.0.0-20240722211153-64c016c92987"
		c := newConsumer(t, p, append(readers, gvisor+"/pkg/tcpip/stack"), map[string]string{gvisor: july})
		if got := c.required(t, gvisor); got != july {
			t.Errorf("go mod tidy made gVisor %s: want %s", got, july)
		}
		c.onlyBuildsWith(t, append([]string{core}, gVisorAndItsOwn...)...)
	})

	t.Run("source/netstack needs gVisor only", func(t *testing.T) {
		c := newConsumer(t, p, []string{core + "/source/netstack", core + "/source/netstack/streams"}, nil)
		c.onlyBuildsWith(t, append([]string{core, core + "/source/netstack"}, gVisorAndItsOwn...)...)
	})

	for _, dir := range released {
		t.Run("alone/"+dir, func(t *testing.T) { testAlone(t, dir) })
	}
}

// TestExamples compiles, vets and tests the examples that are modules of their own with what
// their own go.mod requires, which is tidy. examples.txtar of cmd/rxring runs those without tests.
func TestExamples(t *testing.T) {
	mods, err := filepath.Glob(filepath.Join(root, "examples", "*", "go.mod"))
	if err != nil || len(mods) == 0 {
		t.Fatalf("examples/*/go.mod: %d files: %v", len(mods), err)
	}
	env := append(os.Environ(), "GOWORK=off")
	for _, mod := range mods {
		dir := filepath.Dir(mod)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			run(t, dir, env, "go", "mod", "tidy", "-diff")
			run(t, dir, env, "go", "test", "-vet=all", "./...")
		})
	}
}

var gVisorAndItsOwn = []string{gvisor, "github.com/google/btree", "golang.org/x/sys", "golang.org/x/time"}

// testAlone vets a module with what its own go.mod requires, which is tidy: go vet compiles
// what its packages and tests import, and type-checks them. The other modules are those of the
// working tree.
func testAlone(t *testing.T, dir string) {
	in := absolute(t, dir)
	mod := readGoMod(t, dir)
	for _, other := range released {
		if other != dir {
			if err := mod.AddReplace(path.Join(core, other), "", absolute(t, other), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	copied := filepath.Join(t.TempDir(), "go.mod")
	before := modfile.Format(mod.Syntax)
	write(t, copied, before)
	write(t, strings.TrimSuffix(copied, "mod")+"sum", read(t, filepath.Join(in, "go.sum")))

	env := append(os.Environ(), "GOWORK=off")
	run(t, in, env, "go", "mod", "tidy", "-modfile", copied)
	if after := read(t, copied); string(after) != string(before) {
		t.Errorf("%s/go.mod is not tidy: run scripts/tidy. With replacements it is\n%s\nand should be\n%s", dir, before, after)
	}
	run(t, in, env, "go", "vet", "-modfile", copied, "./...")
	if dir == "source/netstack" { // elsewhere it is built with a later gVisor
		run(t, in, env, "go", "test", "-modfile", copied, "./...")
	}
}

func absolute(t *testing.T, dir string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// consumer is a module whose program imports some packages.
type consumer struct {
	p   *proxy
	dir string
}

// newConsumer makes a module that requires the modules of requires at its versions,
// adds what else the imports need at the version of p, and tidies it.
func newConsumer(t *testing.T, p *proxy, imports []string, requires map[string]string) *consumer {
	t.Helper()
	c := &consumer{p, t.TempDir()}
	var source strings.Builder
	fmt.Fprintln(&source, "package main")
	for _, i := range imports {
		fmt.Fprintf(&source, "import _ %q\n", i)
	}
	fmt.Fprintln(&source, "func main() {}")
	write(t, filepath.Join(c.dir, "main.go"), []byte(source.String()))
	c.run(t, "mod", "init", "example.org/consumer")
	for m, v := range requires {
		c.run(t, "mod", "edit", "-require", m+"@"+v)
	}
	c.run(t, "mod", "tidy")
	return c
}

func (c *consumer) run(t *testing.T, args ...string) {
	t.Helper()
	run(t, c.dir, c.p.env, "go", args...)
}

func (c *consumer) goMod(t *testing.T) *modfile.File {
	t.Helper()
	name := filepath.Join(c.dir, "go.mod")
	f, err := modfile.Parse(name, read(t, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// required is the version at which the consumer requires a module.
func (c *consumer) required(t *testing.T, module string) string {
	t.Helper()
	for _, r := range c.goMod(t).Require {
		if r.Mod.Path == module {
			return r.Mod.Version
		}
	}
	return "not required"
}

// onlyBuildsWith checks which modules are in the consumer's program: what `go version
// -m` lists.
func (c *consumer) onlyBuildsWith(t *testing.T, modules ...string) {
	t.Helper()
	program := filepath.Join(c.dir, "consumer")
	c.run(t, "build", "-o", program, ".")
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range info.Deps {
		got[m.Path] = m.Version
	}
	if want := slices.Sorted(slices.Values(modules)); !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("the program is built with %v: want only %q", got, want)
	}
}
