package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// built is the rxring of this tree, from the first call of buildRxring to removeRxring.
var built struct {
	sync.Mutex
	dir string // empty: it is not built
}

// buildRxring builds cmd/rxring, the first time. Run removes it.
func buildRxring() (path string, err error) {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		return filepath.Join(built.dir, "rxring"), nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "rxring-bench-")
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "rxring")
	out, err := exec.Command("go", "build", "-C", root, "-o", path, "./cmd/rxring").CombinedOutput()
	if err != nil {
		return "", errors.Join(fmt.Errorf("go build ./cmd/rxring: %w: %s", err, out), os.RemoveAll(dir))
	}
	built.dir = dir
	return path, nil
}

func removeRxring() error {
	built.Lock()
	defer built.Unlock()
	dir := built.dir
	built.dir = ""
	return os.RemoveAll(dir)
}

// moduleRoot is the directory of rxring: errSkip without its source.
func moduleRoot() (dir string, err error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/rxring/rxring").Output()
	if err != nil {
		return "", errors.Join(fmt.Errorf("%w: where rxring's source is: go list", errSkip), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// compile compiles a program in C: errSkip without a compiler.
func compile(program string, source []byte, libraries ...string) error {
	if err := os.WriteFile(program+".c", source, 0o600); err != nil {
		return err
	}
	args := append([]string{"-O2", "-o", program, program + ".c"}, libraries...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: gcc%q: %w: %.200s", errSkip, libraries, err, out)
	}
	return nil
}
