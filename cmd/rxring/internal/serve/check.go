package serve

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/sandbox"
	"github.com/rxring/rxring/internal/sockfile"
)

// Check describes what [Run] would offer and to whom, with warnings about rules that have no
// effect. Its error is that of Run, with the same type; sources are inspected, not started.
func Check(ctx context.Context, o Options) (string, error) {
	s := &server{opts: o, meter: newMeter()}
	c, err := background(ctx, s.load)
	if err != nil {
		return "", ConfigError{err}
	}
	become, err := s.becomes(c)
	if err != nil {
		return "", ConfigError{err}
	}
	if become != nil {
		if err := s.checkFiles(c, become); err != nil {
			return "", err
		}
	}
	path, err := c.path()
	if err != nil {
		return "", ConfigError{err}
	}
	if err := sockfile.Check(path); err != nil {
		return "", &fs.PathError{Op: "listen", Path: path, Err: err}
	}
	sources := feed.NewSet("source")
	if err := sources.Open(ctx, c.Sources, feed.Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})}); err != nil {
		return "", err
	}
	defer sources.Close()
	r := report{c: c, groups: groupsOfUser, daemon: uint32(os.Geteuid()), group: uint32(os.Getegid())}
	if become != nil {
		r.daemon = uint32(become.UID)
	}
	return r.text(path, sources.List()), nil
}

// checkFiles returns an error if the user that the daemon becomes cannot read a file.
func (s *server) checkFiles(c *Config, become *sandbox.User) error {
	for _, name := range s.fileNames(c) {
		if err := readAs(become, name); err != nil {
			err = fmt.Errorf("%s: %w for user %s, which rxring becomes: want a file and directories that this user can read", name, withoutPath(err), UserName(uint32(become.UID)))
			if name == s.opts.Confine.File {
				return ConfigError{err}
			}
			return err
		}
	}
	return nil
}

// groupsOfUser are a user's groups, as a process of that user has them after a login.
func groupsOfUser(uid uint32) (groups []uint32) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil
	}
	ids, _ := u.GroupIds()
	for _, text := range ids {
		if id, err := strconv.ParseUint(text, 10, 32); err == nil {
			groups = append(groups, uint32(id))
		}
	}
	return groups
}
