// The imports program checks the imports of Go files against depguard's rules in
// .depguard.yaml. Unlike depguard's own program it neither compiles nor type-checks,
// and it reads the files of every system.
//
//	git ls-files '*.go' | bin/imports
package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"

	"github.com/OpenPeeDeeP/depguard/v2"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/go/analysis"
)

func main() {
	found, err := check(".depguard.yaml", os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "imports:", err)
		os.Exit(2)
	}
	if found > 0 {
		os.Exit(1)
	}
}

// check prints to out, and counts, the imports that the rules forbid in the files that
// list has, one a line.
func check(config string, list io.Reader, out io.Writer) (found int, err error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return 0, err
	}
	var rules depguard.LinterSettings
	if err := yaml.Unmarshal(text, &rules); err != nil {
		return 0, fmt.Errorf("%s: %w", config, err)
	}
	analyzer, err := depguard.NewAnalyzer(&rules)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", config, err)
	}
	pass := &analysis.Pass{Analyzer: analyzer, Fset: token.NewFileSet()}
	pass.Report = func(d analysis.Diagnostic) {
		fmt.Fprintf(out, "%v: %s\n", pass.Fset.Position(d.Pos), d.Message)
		found++
	}
	names := bufio.NewScanner(list)
	for names.Scan() {
		name, err := filepath.Abs(names.Text()) // the rules have patterns of whole paths
		if err != nil {
			return 0, err
		}
		file, err := parser.ParseFile(pass.Fset, name, nil, parser.ImportsOnly)
		if err != nil {
			return 0, err
		}
		pass.Files = []*ast.File{file}
		if _, err := analyzer.Run(pass); err != nil {
			return 0, err
		}
	}
	return found, names.Err()
}
