package extcap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// scriptName is the name of the script in Wireshark's extcap directories.
const scriptName = "rxring"

// scriptHead begins every script that Install has written.
const scriptHead = "#!/bin/sh\n# Written by rxring extcap --install; rxring extcap --uninstall removes it.\n"

// Dirs returns this user's extcap directories: that of Wireshark 4.1 and later, and that of
// earlier versions.
func Dirs() ([]string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, err
	}
	return []string{
		filepath.Join(home, ".local/lib/wireshark/extcap"),
		filepath.Join(config, "wireshark/extcap"),
	}, nil
}

// Install writes a script into each of dirs, by which Wireshark runs program with the sockets
// of further namespaces. It returns the paths of the scripts.
func Install(dirs []string, program string, others []string) (paths []string, err error) {
	script := scriptHead + "exec " + quote(program) + " extcap"
	for _, other := range others {
		flag := " --at "
		if _, fleet := fleetServer(other); fleet {
			flag = " --from "
		}
		script += flag + quote(other)
	}
	script += " \"$@\"\n"
	for _, dir := range dirs {
		path := filepath.Join(dir, scriptName)
		if ours, err := written(path); err != nil {
			return paths, err
		} else if !ours && exists(path) {
			return paths, fmt.Errorf("%s: another program wrote this file: remove it, or choose another directory with --dir", path)
		}
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = replace(path, script)
		}
		if err != nil {
			return paths, installError(dir, err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// installError returns an error that names the directory, and not a temporary file in it.
func installError(dir string, err error) error {
	if p := new(fs.PathError); errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("%s: %w: want a directory where this user may write: --dir names another one; only root can install into Wireshark's global one", dir, err)
}

// Uninstall removes from dirs what Install has written, and returns the paths.
func Uninstall(dirs []string) (paths []string, err error) {
	for _, dir := range dirs {
		path := filepath.Join(dir, scriptName)
		ours, err := written(path)
		if err != nil {
			return paths, err
		}
		if !ours {
			continue
		}
		if err := os.Remove(path); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// written reports whether Install has written the file at path.
func written(path string) (bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return bytes.HasPrefix(b, []byte(scriptHead)), err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// replace writes an executable file, which replaces the one at path.
func replace(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+scriptName+"-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err2 := f.Chmod(0o755); err == nil {
		err = err2
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// quote quotes a word for sh.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
