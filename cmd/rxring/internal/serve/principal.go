package serve

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"github.com/rxring/rxring/cbpf"
)

// Principal is a user or a group that a file names.
type Principal struct {
	Name string // as in the file; "": the file has a number
	ID   uint32
	Any  bool // "*"
}

// Resolver looks up names and compiles filters. All functions must be set.
type Resolver struct {
	User, Group func(name string) (id string, err error)
	Filter      func(expr string) ([]cbpf.Instruction, error)
}

// SystemResolver uses the system's user database and libpcap.
var SystemResolver = Resolver{
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

// maxID is the largest valid uid_t or gid_t: in system calls -1 means none.
const maxID = 1<<32 - 2

// readPrincipal reads a name or a number; what is "user" or "group".
func readPrincipal(raw any, lookup func(string) (string, error), what string) (Principal, error) {
	switch v := raw.(type) {
	case int64:
		if v < 0 || v > maxID {
			return Principal{}, fmt.Errorf("%d: want a number from 0 to %d", v, uint32(maxID))
		}
		return Principal{ID: uint32(v)}, nil
	case string:
		if v == "" {
			return Principal{}, fmt.Errorf("it is empty: want a %s's name or number", what)
		}
		text, err := lookup(v)
		if err != nil {
			var u user.UnknownUserError
			var g user.UnknownGroupError
			if errors.As(err, &u) || errors.As(err, &g) {
				return Principal{}, fmt.Errorf("there is no %s %q here: want a name of this system, or a number without quotes", what, v)
			}
			return Principal{}, fmt.Errorf("%s %q: %w", what, v, err)
		}
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil || id > maxID {
			return Principal{}, fmt.Errorf("%s %q has the number %s: want one from 0 to %d", what, v, text, uint32(maxID))
		}
		return Principal{Name: v, ID: uint32(id)}, nil
	}
	return Principal{}, fmt.Errorf("it is %s: want a %s's name or number", kind(raw), what)
}

// readPrincipalOrAny is readPrincipal that accepts "*".
func readPrincipalOrAny(raw any, lookup func(string) (string, error), what string) (Principal, error) {
	if raw == "*" {
		return Principal{Any: true}, nil
	}
	return readPrincipal(raw, lookup, what)
}

func (w Principal) String() string {
	switch {
	case w.Any:
		return `"*"`
	case w.Name != "":
		return quote(w.Name)
	}
	return strconv.FormatUint(uint64(w.ID), 10)
}

func (w Principal) matches(id uint32) bool { return w.Any || w.ID == id }
