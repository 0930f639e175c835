package serve

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"github.com/rxring/rxring/cbpf"
)

// Who is a user or a group in a file: by name or by number.
type Who struct {
	Name string // as in the file; "": it had a number
	ID   uint32
	Any  bool // "*"
}

// Env is what a file's words mean on a system. No function of it may be nil.
type Env struct {
	User, Group func(name string) (id string, err error)
	Filter      func(expr string) ([]cbpf.Instruction, error)
}

// System asks the system's user database and its libpcap.
var System = Env{
	Filter: compile,
	User: func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	},
	Group: func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	},
}

// maxID is the largest uid_t or gid_t that somebody can have: the one after it means
// nobody in system calls.
const maxID = 1<<32 - 2

// readWho reads a user's or group's name or number. what is "user" or "group".
func readWho(raw any, lookup func(string) (string, error), what string) (Who, error) {
	switch v := raw.(type) {
	case int64:
		if v < 0 || v > maxID {
			return Who{}, fmt.Errorf("%d: want a number from 0 to %d", v, uint32(maxID))
		}
		return Who{ID: uint32(v)}, nil
	case string:
		if v == "" {
			return Who{}, fmt.Errorf("it is empty: want a %s's name or number", what)
		}
		text, err := lookup(v)
		if err != nil {
			var u user.UnknownUserError
			var g user.UnknownGroupError
			if errors.As(err, &u) || errors.As(err, &g) {
				return Who{}, fmt.Errorf("there is no %s %q here: want a name of this system, or a number without quotes", what, v)
			}
			return Who{}, fmt.Errorf("%s %q: %w", what, v, err)
		}
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil || id > maxID {
			return Who{}, fmt.Errorf("%s %q has the number %s: want one from 0 to %d", what, v, text, uint32(maxID))
		}
		return Who{Name: v, ID: uint32(id)}, nil
	}
	return Who{}, fmt.Errorf("it is %s: want a %s's name or number", kind(raw), what)
}

// readAnyOr is readWho, and "*" for everybody.
func readAnyOr(raw any, lookup func(string) (string, error), what string) (Who, error) {
	if raw == "*" {
		return Who{Any: true}, nil
	}
	return readWho(raw, lookup, what)
}

func (w Who) String() string {
	switch {
	case w.Any:
		return `"*"`
	case w.Name != "":
		return quote(w.Name)
	}
	return strconv.FormatUint(uint64(w.ID), 10)
}

func (w Who) is(id uint32) bool { return w.Any || w.ID == id }
