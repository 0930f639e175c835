package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/rxring/rxring/cmd/rxring/internal/sandbox"
	"github.com/rxring/rxring/internal/sockfile"
)

// Confinement says whether and how the daemon's process gives up what it does not need.
// The zero value: it stays as it is.
type Confinement struct {
	On     bool   // see confine
	File   string // of --config, to be read again; "": there is none
	User   string // instead of the file's; "": the file's
	Unsafe bool   // no sandbox, whatever the file says

	// Release is called just before this process executes the program again: it stops
	// catching signals, of which the new program would not learn, and ends Run's context if
	// one has been caught that ends the process. nil: nothing is caught.
	Release func()
}

// confine executes this program again, with fewer rights, unless that was done before:
// see package sandbox. It must run before anything is opened.
func (s *server) confine(ctx context.Context, c *Config) error {
	if !s.opts.Confine.On {
		return nil
	}
	state, entered := sandbox.Entered()
	if entered && os.Geteuid() != 0 {
		s.confined = state
		return nil
	}
	become, err := s.becomes(c)
	switch {
	case err != nil:
		return ConfigError{err}
	case entered && become != nil:
		return ConfigError{fmt.Errorf("user %q: it is another one than when rxring started, a moment ago: start it again", s.userName(c))}
	case entered:
		s.confined = state
		return nil
	case become == nil && !c.Sandbox:
		return nil
	}
	if err := s.readAgain(); err != nil {
		return ConfigError{err}
	}
	box := sandbox.Config{AllFiles: !c.Sandbox, User: become}
	path, err := c.path()
	if err != nil {
		return ConfigError{err}
	}
	switch {
	case os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) && os.Getenv("LISTEN_FDS") != "0": // systemd's
	case become != nil: // who may have no right to make it
		l, _, err := sockfile.Listen("unixpacket", path, func(name string) error {
			return errors.Join(os.Chown(name, become.UID, -1), c.setSocketPerms(name))
		})
		if err != nil {
			return &fs.PathError{Op: "listen", Path: path, Err: err}
		}
		if box.Listen, err = l.File(); err != nil {
			return err
		}
		box.Path = path
	default:
		box.MakeSockets = append(box.MakeSockets, filepath.Dir(path))
	}
	box.Read = append(readable(), s.files(c)...)
	switch c.Metrics.Network {
	case "unix":
		box.MakeSockets = append(box.MakeSockets, filepath.Dir(c.Metrics.Address))
	case "tcp":
		box.Bind = append(box.Bind, port(c.Metrics.Address))
	}
	box.Connect = []uint16{53} // DNS, for host names in filters
	if s.opts.Confine.Release != nil {
		s.opts.Confine.Release()
	}
	if ctx.Err() != nil {
		return nil
	}
	return sandbox.Enter(box)
}

// readAgain says whether the configuration can be read a second time, by the program that
// is executed. What is in a pipe, such as bash's <(...), has been read by now.
func (s *server) readAgain() error {
	path := s.opts.Confine.File
	if path == "" {
		return nil
	}
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("--config %s: it is no file, and can be read only once, but rxring reads it again in the sandbox and upon SIGHUP: want a file, or --no-sandbox and no user to become", path)
	}
	return nil // if it is not there any more, the program says so
}

// userName is the user that the daemon is to become, as it was given; "": none was.
func (s *server) userName(c *Config) string {
	if s.opts.Confine.User == "" && c.User != nil {
		return c.User.name()
	}
	return s.opts.Confine.User
}

// becomes is the user that the daemon is to become, nil: it stays who it is.
func (s *server) becomes(c *Config) (*sandbox.User, error) {
	name := s.userName(c)
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("user %q: there is none of that name or number here: want a user of this system, such as one made by \"useradd --system rxring\"", name)
		}
	}
	become := new(sandbox.User)
	if become.UID, err = strconv.Atoi(u.Uid); err == nil {
		become.GID, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	switch os.Geteuid() {
	case become.UID:
		return nil, nil
	case 0:
	default:
		return nil, fmt.Errorf("user %q: only root can become another user, and this is %s: start rxring as root, or as that user", name, UserName(uint32(os.Geteuid())))
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user %q: its groups: %w", name, err)
	}
	for _, g := range groups {
		id, err := strconv.Atoi(g)
		if err != nil {
			return nil, fmt.Errorf("user %q: group %q: %w", name, g, err)
		}
		become.Groups = append(become.Groups, id)
	}
	return become, nil
}

// name is what user.Lookup or user.LookupId take.
func (w *Who) name() string {
	if w.Name != "" {
		return w.Name
	}
	return strconv.FormatUint(uint64(w.ID), 10)
}

// readable are the directories where names are looked up, and processes and interfaces
// are found. All of /etc is one of them: files in it are replaced by others when they are
// changed, and Landlock's rules are about the files that there were.
func readable() []string {
	dirs := []string{"/etc", "/proc", "/sys", "/run/systemd/resolve", "/run/systemd/userdb", "/run/nscd", "/var/lib/sss", "/var/cache/nscd"}
	return append(dirs, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
}

// files are those of the configuration and of the sources, with the directories that they
// are in: a new one may take the place of each, or be added to the configuration.
func (s *server) files(c *Config) (paths []string) {
	names := append(s.named(c), "/etc/resolv.conf") // a link, often
	for _, name := range names {
		paths = append(paths, name, filepath.Dir(name))
		if target, err := filepath.EvalSymlinks(name); err == nil && target != name {
			paths = append(paths, filepath.Dir(target))
		}
	}
	return paths
}

// named are the configuration, if there is one, and the files of its sources.
func (s *server) named(c *Config) (names []string) {
	if s.opts.Confine.File != "" {
		names = append(names, s.opts.Confine.File)
	}
	for _, from := range c.Sources {
		if path, ok := from.File(); ok {
			names = append(names, path)
		}
	}
	return names
}

func port(address string) uint16 {
	_, text, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(text, 10, 16) // parseListen has read it
	return uint16(n)
}

// filterCalls is the rest of the sandbox, once sockets and sources are open, and says
// what is in force.
func (s *server) filterCalls(c *Config) {
	if !s.opts.Confine.On {
		return
	}
	if !c.Sandbox {
		s.log.Warn("no sandbox: it is switched off", "user", UserName(uint32(os.Geteuid())))
		return
	}
	err := sandbox.FilterCalls()
	if err != nil { // a kernel, or a container, that does not let us
		s.log.Warn("the sandbox leaves system calls as they are", "err", err)
	}
	if s.confined.Landlock == 0 {
		s.log.Debug("the kernel has no Landlock that is new enough (Linux 5.19): the sandbox leaves files as they are")
	}
	attrs := []any{slog.String("user", UserName(uint32(os.Geteuid()))), slog.Bool("files", s.confined.Landlock > 0), slog.Bool("system_calls", err == nil)}
	if os.Geteuid() == 0 {
		attrs = append(attrs, slog.String("advice", `root can read all of /etc: want user = "NAME" in the file, or --user NAME`))
	}
	s.log.Info("sandbox", attrs...)
}

// hidden explains an error of a reload that may be the sandbox's.
func (s *server) hidden(err error) error {
	if s.confined.Landlock > 0 && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: the sandbox shows the directories of the configuration and of the sources that there were at the start: restart to read from others", err)
	}
	return err
}
