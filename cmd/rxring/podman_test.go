package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// pod runs containers of an image that has rxring, tcpdump and a few tools of this
// machine, by podman as it is installed here. No registry is asked.
type pod struct {
	podman []string // podman, its global options, and whose it is
	run    []string // options of podman run that this machine needs
	image  string
}

const podTimeout = 5 * time.Minute

// newPod imports the root file system in a tar archive and finds out how containers can be run here.
func newPod(archive string, podman ...string) (*pod, error) {
	p := &pod{podman: podman, image: fmt.Sprintf("localhost/rxring-test-%d", os.Getpid())}
	if out, err := p.command("import", archive, p.image); err != nil {
		return nil, fmt.Errorf("podman import: %w: %s", err, out)
	}
	// Machines that are containers themselves cannot raise limits, and have cgroups
	// that crun does not like.
	limits := []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	var failed error
	for _, runtime := range []string{"", "runc"} {
		for _, run := range [][]string{nil, limits} {
			try := *p
			try.run = run
			if runtime != "" {
				try.podman = append(slices.Clone(p.podman), "--runtime", runtime)
			}
			out, err := try.command(append(try.runArgs(), p.image, "true")...)
			if err == nil {
				return &try, nil
			}
			failed = fmt.Errorf("podman run: %w: %s", err, out)
		}
	}
	p.remove()
	return nil, failed
}

func (p *pod) runArgs() []string {
	return append([]string{"run", "--rm", "--network", "none"}, p.run...)
}

func (p *pod) command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), podTimeout)
	defer cancel()
	all := slices.Concat(p.podman, args)
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *pod) remove() { p.command("rmi", "--force", p.image) }

// pods returns functions that report why podman cannot run containers here, nil if it can: for
// this user, and as root for nobody. The first call writes the program for scripts to dir.
func pods(t *testing.T, dir string) (own, rootless func() error) {
	archive := filepath.Join(dir, "container.tar")
	image := sync.OnceValue(func() error { return podImage(archive, filepath.Join(dir, "rxring")) })
	set := func(name string, podman ...string) func() error {
		return sync.OnceValue(func() error {
			err := image()
			var p *pod
			if err == nil {
				p, err = newPod(archive, podman...)
			}
			if err == nil {
				t.Cleanup(p.remove)
				err = p.script(filepath.Join(dir, name))
			}
			return err
		})
	}
	home := filepath.Join(dir, "nobody")
	podman := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "env", "HOME=" + home,
		"XDG_RUNTIME_DIR=" + home, "podman", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}
	nobody := set("rootless", podman...)
	return set("container", "podman"), sync.OnceValue(func() error {
		if err := os.Mkdir(home, 0o700); err != nil {
			return err
		}
		if err := os.Chown(home, 65534, 65534); err != nil {
			return err
		}
		// Each home has a process that holds its user namespace, which this ends.
		t.Cleanup(func() { (&pod{podman: podman}).command("system", "migrate") })
		return nobody()
	})
}

// script writes a program for scripts: NAME [OPTIONS OF PODMAN RUN] -- COMMAND. The
// environment variable IMAGE names another image.
func (p *pod) script(path string) error {
	text := fmt.Sprintf(`#!/bin/sh
opts=
while [ "$1" != -- ]; do opts="$opts $1"; shift; done
shift
exec timeout 120 %s %s $opts ${IMAGE:-%s} "$@"
`, strings.Join(p.podman, " "), strings.Join(p.runArgs(), " "), p.image)
	return os.WriteFile(path, []byte(text), 0o755)
}

// podImage writes a root file system to a tar archive.
func podImage(archive, rxring string) error {
	files := map[string]string{"usr/bin/rxring": rxring, "etc/passwd": "/etc/passwd", "etc/group": "/etc/group"}
	for _, name := range []string{"sh", "true", "cat", "id", "env", "tcpdump", "setpriv"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		files["usr/bin/"+name] = path
	}
	for _, path := range slices.Collect(maps.Values(files)) {
		out, _ := exec.Command("ldd", path).Output() // it fails for what is not dynamic
		for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
			lib = strings.TrimSuffix(lib, ":")
			if strings.Contains(lib, "/lib") && lib != path {
				files["usr/"+strings.TrimPrefix(strings.TrimPrefix(lib, "/usr"), "/")] = lib
			}
		}
	}
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Chmod(0o644); err != nil { // nobody's podman reads it, too
		return err
	}
	w := tar.NewWriter(out)
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o1777}); err != nil {
			return err
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		to := "usr/" + strings.Replace(dir, "sbin", "bin", 1)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir, Linkname: to}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path, err := filepath.EvalSymlinks(files[name])
		if err != nil {
			return err
		}
		if err := podFile(w, name, path); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), out.Close())
}

// podFile adds the program or library at path to the archive.
func podFile(w *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
