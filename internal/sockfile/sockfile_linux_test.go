package sockfile

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

const stranger = 65532

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// As root it listens only where no other user can put a file in the socket's place.
func TestDirectoriesThatOthersCanChange(t *testing.T) {
	need.Root(t, "make files of other users")
	top := t.TempDir()
	dir := func(name string, mode os.FileMode, uid int) {
		t.Helper()
		path := filepath.Join(top, name)
		must(t, os.Mkdir(path, 0o755))
		must(t, os.Chown(path, uid, uid))
		must(t, os.Chmod(path, mode))
	}
	link := func(name, target string, uid int) {
		t.Helper()
		path := filepath.Join(top, name)
		must(t, os.Symlink(target, path))
		must(t, os.Lchown(path, uid, uid))
	}
	dir("safe", 0o755, 0)
	dir("open", 0o777, 0)
	dir("group", 0o775, 0)
	dir("open/within", 0o755, 0)
	dir("sticky", 0o777|os.ModeSticky, 0)
	dir("sticky/ours", 0o700, 0)
	dir("sticky/theirs", 0o755, stranger)
	dir("theirs", 0o700, stranger)
	dir("theirs/within", 0o755, 0)
	dir("theirs-sticky", 0o777|os.ModeSticky, stranger)
	link("sticky/link", "../safe", 0)
	link("sticky/their-link", "../safe", stranger)
	link("to-open", "safe/../open/within", 0)
	link("to-link", "sticky/their-link", 0)
	link("loop", "loop", 0)
	const owned, written = "user 65532 owns ", "other users may write to "
	for name, want := range map[string]string{
		"safe":              "",
		"safe/../sticky":    "",
		"sticky/ours":       "",
		"sticky/link":       "",
		"open":              written + top + "/open (mode 0777)",
		"group":             written + top + "/group (mode 0775)",
		"open/within":       written + top + "/open (mode 0777)",
		"sticky/theirs":     owned + top + "/sticky/theirs,",
		"theirs":            owned + top + "/theirs,",
		"theirs/within":     owned + top + "/theirs,",
		"theirs-sticky":     owned + top + "/theirs-sticky,",
		"sticky/their-link": owned + top + "/sticky/their-link,",
		"to-open":           written + top + "/open (mode 0777)",
		"to-link":           owned + top + "/sticky/their-link,",
		"loop":              "more than 40 symbolic links",
	} {
		if err := checkParents(top + "/" + name); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, _, err := Listen("unix", top+"/open/s", nil); !errors.Is(err, syscall.EPERM) {
		t.Errorf("listens in a directory that others may write to: %v", err)
	}
}

// The file that has taken the socket's place keeps its mode, and is not removed.
func TestAnotherFileInTheSocketsPlace(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "s"), filepath.Join(dir, "secret")
	l, f, err := Listen("unix", path, func(name string) error { return os.Chmod(name, 0o640) })
	must(t, err)
	defer l.Close()
	mode := func(path string) os.FileMode {
		t.Helper()
		fi, err := os.Lstat(path)
		must(t, err)
		return fi.Mode().Perm()
	}
	open := func(name string) error { return os.Chmod(name, 0o666) }
	if mode(path) != 0o640 {
		t.Errorf("mode %o, want 640", mode(path))
	}
	must(t, f.Permit(open))
	if mode(path) != 0o666 {
		t.Errorf("mode %o, want 666", mode(path))
	}
	must(t, os.WriteFile(secret, nil, 0o600))
	must(t, os.Remove(path))
	for what, place := range map[string]func() error{
		"a symbolic link": func() error { return os.Symlink(secret, path) },
		"a hard link":     func() error { return os.Link(secret, path) },
		"nothing":         func() error { return nil },
	} {
		must(t, place())
		if err := f.Permit(open); err == nil || !strings.Contains(err.Error(), path+" is not the socket of this process any more") {
			t.Errorf("%s: %v", what, err)
		}
		if mode(secret) != 0o600 {
			t.Fatalf("%s: mode %o, want 600", what, mode(secret))
		}
		os.Remove(path)
	}
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, f.Close())
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's file was removed: %v", err)
	}
}

// While a user swaps the socket for a link as fast as possible, the mode that is set is
// the socket's, or none.
func TestASocketThatIsSwappedForALink(t *testing.T) {
	need.Root(t, "be another user")
	dir, err := os.MkdirTemp("", "rxring-test")
	must(t, err)
	defer os.RemoveAll(dir)
	path, secret := filepath.Join(dir, "s"), filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, nil, 0o600))
	l, f, err := Listen("unix", path, nil)
	must(t, err)
	defer l.Close()
	must(t, os.Chown(dir, stranger, stranger)) // once it listens
	cmd := exec.Command("/bin/sh", "-c", `ln s real; ln -s "$1" link; echo
		while :; do ln -f real next; mv -fT next s; cp -P link next; mv -fT next s; done 2>/dev/null`, "sh", secret)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	var set, refused int
	for i := 0; i < 200000 && (i < 2000 || set == 0 || refused == 0); i++ {
		if f.Permit(func(name string) error { return os.Chmod(name, 0o666) }) == nil {
			set++
		} else {
			refused++
		}
	}
	fi, err := os.Stat(secret)
	must(t, err)
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 600", fi.Mode().Perm())
	}
	if set == 0 || refused == 0 {
		t.Errorf("the path was the socket %d times, another file %d times: want both", set, refused)
	}
	t.Logf("the path was the socket %d times, another file %d times", set, refused)
}

func TestASocketOfAnEndedProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, f, err := Listen("unixpacket", path, nil)
	must(t, err)
	if _, _, err := Listen("unixpacket", path, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("beside one that listens: %v", err)
	}
	l.Close()
	l2, f2, err := Listen("unixpacket", path, nil)
	must(t, err)
	must(t, f.Close()) // no longer its file
	c, err := net.Dial("unixpacket", path)
	must(t, err)
	c.Close()
	must(t, f2.Close())
	l2.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
