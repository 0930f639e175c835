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

// Confinement configures how the daemon gives up the rights that it does not need. The zero
// value: it keeps them.
type Confinement struct {
	On     bool   // see confine
	File   string // of --config, which is read again; "": none
	User   string // replaces the file's; "": the file's
	Unsafe bool   // no sandbox, whatever the file says

	// Release is called before this process executes the program again. It must stop
	// catching signals, which the new program would miss, and end Run's context if a
	// caught signal ends the process. nil: no signal is caught.
	Release func()
}

// confine executes this program again with fewer rights, unless it was executed so already:
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
		return ConfigError{fmt.Errorf("user %q: it has changed since rxring started: start it again", s.userName(c))}
	case entered:
		s.confined = state
		return nil
	case become == nil && !c.Sandbox:
		return nil
	}
	if err := s.checkRereadable(); err != nil {
		return ConfigError{err}
	}
	if err := checkCommands(c); err != nil {
		return ConfigError{err}
	}
	box := sandbox.Config{AllFiles: !c.Sandbox, User: become}
	path, err := c.path()
	if err != nil {
		return ConfigError{err}
	}
	switch {
	case os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) && os.Getenv("LISTEN_FDS") != "0": // systemd's
	case become != nil: // and may not make the socket
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
	switch a := s.opts.Page.Address; a.Network {
	case "unix":
		box.MakeSockets = append(box.MakeSockets, filepath.Dir(a.Path))
	case "tcp":
		box.Bind = append(box.Bind, a.Port)
	}
	box.Connect = []uint16{53} // DNS, for host names in filters
	for _, from := range c.Sources {
		if address, ok := from.TCP(); ok {
			box.Connect = append(box.Connect, port(address))
		}
		if address, ok := from.FleetServer(); ok {
			box.Connect = append(box.Connect, port(address))
		}
	}
	if s.opts.Confine.Release != nil {
		s.opts.Confine.Release()
	}
	if ctx.Err() != nil {
		return nil
	}
	return sandbox.Enter(box)
}

// checkCommands returns an error if the sandbox forbids a source that is a command.
func checkCommands(c *Config) error {
	for _, from := range c.Sources {
		if c.Sandbox && from.Command() {
			return fmt.Errorf("source %q: the sandbox starts no programs: want pcap:FIFO, to which another service writes, or --no-sandbox", from.String())
		}
	}
	return nil
}

// checkRereadable returns an error if the configuration cannot be read a second time, by the
// program that is executed: it is a pipe, such as bash's <(...).
func (s *server) checkRereadable() error {
	path := s.opts.Confine.File
	if path == "" {
		return nil
	}
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("--config %s: it is not a regular file and can be read only once, but rxring reads it again in the sandbox and on SIGHUP: want a file, or --no-sandbox and no user to become", path)
	}
	return nil // the program that is executed reports other errors
}

// userName returns the user that the daemon becomes, as configured; "": none.
func (s *server) userName(c *Config) string {
	if s.opts.Confine.User == "" && c.User != nil {
		return c.User.name()
	}
	return s.opts.Confine.User
}

// becomes returns the user that the daemon becomes, nil if it does not change.
func (s *server) becomes(c *Config) (*sandbox.User, error) {
	name := s.userName(c)
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("user %q: there is no such user: want a user of this system, such as one made by \"useradd --system rxring\"", name)
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

// name is an argument of user.Lookup or user.LookupId.
func (w *Principal) name() string {
	if w.Name != "" {
		return w.Name
	}
	return strconv.FormatUint(uint64(w.ID), 10)
}

// readable returns the directories that lookups of names, processes and interfaces read. All
// of /etc is one: its files are replaced when they change, and a Landlock rule applies to
// the file that existed when it was made.
func readable() []string {
	dirs := []string{"/etc", "/proc", "/sys", "/run/systemd/resolve", "/run/systemd/userdb", "/run/nscd", "/var/lib/sss", "/var/cache/nscd"}
	return append(dirs, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
}

// files returns the files of the configuration and its sources with their directories, in
// which files may be replaced or added.
func (s *server) files(c *Config) (paths []string) {
	names := append(s.fileNames(c), "/etc/resolv.conf") // often a link
	for _, name := range names {
		paths = append(paths, name, filepath.Dir(name))
		if target, err := filepath.EvalSymlinks(name); err == nil && target != name {
			paths = append(paths, filepath.Dir(target))
		}
	}
	return paths
}

// fileNames returns the configuration's file and the page's certificate, if any, and the files of
// the sources.
func (s *server) fileNames(c *Config) (names []string) {
	if s.opts.Confine.File != "" {
		names = append(names, s.opts.Confine.File)
	}
	if p := s.opts.Page; p.Cert != "" {
		names = append(names, p.Cert, p.Key)
	}
	for _, from := range c.Sources {
		if path, ok := from.File(); ok {
			names = append(names, path)
		}
		names = append(names, from.FleetFiles()...)
	}
	return names
}

func port(address string) uint16 {
	_, text, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(text, 10, 16) // parseListen has checked it
	return uint16(n)
}

// filterCalls restricts system calls, after sockets and sources are open, and logs which
// parts of the sandbox are active.
func (s *server) filterCalls(c *Config) {
	if !s.opts.Confine.On {
		return
	}
	if !c.Sandbox {
		s.log.Warn("the sandbox is off", "user", UserName(uint32(os.Geteuid())))
		return
	}
	err := sandbox.FilterCalls()
	if err != nil { // the kernel or a container forbids it
		s.log.Warn("the sandbox does not restrict system calls", "err", err)
	}
	if s.confined.Landlock == 0 {
		s.log.Debug("the sandbox does not restrict files: want a kernel with Landlock, Linux 5.19 or later")
	}
	attrs := []any{slog.String("user", UserName(uint32(os.Geteuid()))), slog.Bool("files", s.confined.Landlock > 0), slog.Bool("system_calls", err == nil)}
	if os.Geteuid() == 0 {
		attrs = append(attrs, slog.String("advice", `root can read all of /etc: want user = "NAME" in the file, or --user NAME`))
	}
	s.log.Info("sandbox", attrs...)
}

// explainSandbox adds to an error of a reload that the sandbox may be its cause.
func (s *server) explainSandbox(err error) error {
	if s.confined.Landlock > 0 && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: the sandbox allows only the directories that the configuration and its sources were in at the start: restart to read others", err)
	}
	return err
}
