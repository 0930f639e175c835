package fleet

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
)

// Class is a way to read a host's devices. NATS permissions say who may use a class, since it has
// subjects of its own; the host applies the class's grant to its sessions.
type Class struct {
	Name string // letters, digits, '-' and '_'; "": DefaultClass

	// Grant limits what the class's readers receive: devices, packets, and bytes of each packet. Its
	// Budget limits the memory of their sessions. Nothing is sent, so NoSend has no effect.
	Grant rxring.Grant
}

// ErrDenied is in the error of a class that a reader may not use, or that no host has. It is EACCES.
var ErrDenied = explain.Errorf(syscall.EACCES, "the class may not be used")

func (c *Class) check() error {
	c.Name = orClass(c.Name)
	if err := checkClass(c.Name); err != nil {
		return err
	}
	if c.Grant.Snaplen < 0 {
		return explain.Errorf(syscall.EINVAL, "class %q: snaplen %d: want at least 1 byte, or 0 for all", c.Name, c.Grant.Snaplen)
	}
	if c.Grant.Filter != nil {
		if _, err := cbpf.Compile(c.Grant.Filter); err != nil {
			return fmt.Errorf("class %q: filter: %w", c.Name, err)
		}
	}
	return nil
}

// checkClass refuses a class's name. It is its own token in subjects, as people write it in NATS
// permissions.
func checkClass(name string) error {
	if name == "" || len(name) > maxToken || token(name) != name {
		return explain.Errorf(syscall.EINVAL, "class %q: want 1 to %d letters, digits, '-' or '_'", name, maxToken)
	}
	return nil
}

// findClass returns the class of that name, nil if there is none.
func findClass(classes []Class, name string) *Class {
	i := slices.IndexFunc(classes, func(c Class) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &classes[i]
}

// names returns the classes' names.
func names(classes []Class) (all []string) {
	for _, c := range classes {
		all = append(all, c.Name)
	}
	return all
}

// allows reports whether there is a device for the class's readers.
func (c *Class) allows(d *rxring.Device) bool { return c.Grant.Devices == nil || c.Grant.Devices(d) }

// grant returns the grant of a session's tap; nil: it needs none, as its device was checked, and
// it requests other hosts' packets only if the class allows that.
func (c *Class) grant() *rxring.Grant {
	if g := &c.Grant; g.Filter != nil || g.Snaplen > 0 || g.Budget != nil || g.Account != nil {
		return g
	}
	return nil
}

// recordingGrant returns the grant of a recording's tap, whose memory is the host's own; nil: it
// needs none.
func (c *Class) recordingGrant() *rxring.Grant {
	if c.Grant.Filter == nil && c.Grant.Snaplen == 0 {
		return nil
	}
	g := c.Grant
	g.Budget, g.Account = nil, nil
	return &g
}

// checkClasses completes and checks the classes of a host. A capture of another process's device
// (Open) cannot have a grant.
func (c *ShipConfig) checkClasses() error {
	if len(c.Classes) == 0 {
		c.Classes = []Class{{}}
	}
	seen := make(map[string]bool)
	var errs []error
	all := make([]Class, len(c.Classes)) // the caller's stay as they are
	for i := range c.Classes {
		class := &all[i]
		*class = c.Classes[i]
		err := class.check()
		switch {
		case err != nil:
		case seen[class.Name]:
			err = fmt.Errorf("class %q: there are two: want different names", class.Name)
		case c.Open != nil && class.grant() != nil:
			err = fmt.Errorf("class %q: its filter, snaplen or memory cannot be limited for devices of another process: want limits in that process's own rules, or its devices here", class.Name)
		}
		seen[class.Name] = true
		errs = append(errs, err)
	}
	c.Classes = all
	return errors.Join(errs...)
}
