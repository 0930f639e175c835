// The typecheck program checks that packages and their tests are valid Go for another system.
// Unlike go vet and go build it compiles no dependency: it reads their source, without the bodies
// of their functions, which takes seconds where a first build takes minutes.
//
//	bin/typecheck windows/amd64 ./... ./fleet/...
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 3 || strings.Count(os.Args[1], "/") != 1 {
		fmt.Fprintln(os.Stderr, "usage: typecheck GOOS/GOARCH PACKAGE...")
		os.Exit(2)
	}
	debug.SetGCPercent(400) // most of what is allocated stays in use
	found, err := check(".", os.Args[1], os.Args[2:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "typecheck:", err)
		os.Exit(2)
	}
	if found > 0 {
		os.Exit(1)
	}
}

// check prints to out, and counts, the errors of the packages in dir on a system.
func check(dir, system string, patterns []string, out io.Writer) (found int, err error) {
	goos, goarch, _ := strings.Cut(system, "/")
	dir, err = filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax,
		Dir:   dir,
		Env:   append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0"),
		Tests: true,
		ParseFile: func(fset *token.FileSet, name string, src []byte) (*ast.File, error) {
			f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
			if f != nil && !strings.HasPrefix(name, dir+string(filepath.Separator)) {
				removeBodies(f)
			}
			return f, err
		},
	}, patterns...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", system, err)
	}
	if len(pkgs) == 0 {
		return 0, fmt.Errorf("%s: no packages match %s", system, strings.Join(patterns, " "))
	}
	seen := make(map[string]bool) // a package's test variants have its errors, too
	for _, p := range pkgs {
		if strings.HasSuffix(p.ID, ".test") { // the program that go test would make
			continue
		}
		for _, e := range p.Errors {
			line := fmt.Sprintf("%s: %v", system, e)
			if seen[line] {
				continue
			}
			seen[line] = true
			fmt.Fprintln(out, line)
			found++
		}
	}
	return found, nil
}

// removeBodies leaves the declarations of f. Errors in it, such as imports that are not used now,
// are not reported.
func removeBodies(f *ast.File) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			fn.Body = &ast.BlockStmt{Lbrace: fn.Body.Lbrace, Rbrace: fn.Body.Rbrace}
		}
	}
}
