package attach

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/sockfile"
	"github.com/rxring/rxring/internal/suggest"
)

// Published is a namespace that a process of this user offers under a name.
type Published struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Path string `json:"path"` // of the socket: see [Dial]
}

// String returns NAME@PID, which [Find] finds if several processes have the name.
func (p Published) String() string { return fmt.Sprintf("%s@%d", p.Name, p.PID) }

// in returns p with the path that it has in dir: its String is the file's name.
func (p Published) in(dir string) Published {
	p.Path = filepath.Join(dir, p.String())
	return p
}

// ListPublished returns what this user's processes publish, by name and PID. Processes that
// have ended are left out. One of another user ID namespace, or that stops answering, may be
// listed though [Dial] fails. EPERM: another user could have put sockets into the directory.
func ListPublished() ([]Published, error) {
	dir, err := publishDir()
	if err != nil {
		return nil, nil // so none could be published
	}
	if err := sockfile.CheckPrivate(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	all, err := listPublished(dir)
	return slices.DeleteFunc(all, Published.isStale), err
}

func listPublished(dir string) (all []Published, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, f := range files {
		name, number, _ := strings.Cut(f.Name(), "@")
		p := Published{Name: name}
		if p.PID, _ = strconv.Atoi(number); p.PID <= 0 || !isPublishName(name) || p.String() != f.Name() || f.Type() != fs.ModeSocket {
			continue // not one of ours
		}
		all = append(all, p.in(dir))
	}
	slices.SortFunc(all, func(a, b Published) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.PID-b.PID) })
	return all, err
}

// Find returns the namespace of that name, NAME or NAME@PID. ENOENT: there is none. EEXIST:
// several processes have the name.
func Find(name string) (Published, error) {
	all, err := ListPublished()
	if err != nil {
		return Published{}, err
	}
	var found []Published
	for _, p := range all {
		if p.Name == name || p.String() == name {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		if len(all) == 0 {
			return Published{}, explain.Errorf(syscall.ENOENT, "no process of this user publishes %q: set %s=1 in the environment of the program that publishes it", name, PublishEnv)
		}
		return Published{}, explain.Errorf(syscall.ENOENT, "no process of this user publishes %q: %s", name, suggest.Among(name, texts(all)))
	case 1:
		return found[0], nil
	}
	return Published{}, explain.Errorf(syscall.EEXIST, "%d processes of this user publish %q: want one of %s", len(found), name, suggest.List(texts(found)))
}

func texts(all []Published) (s []string) {
	for _, p := range all {
		s = append(s, p.String())
	}
	return s
}
