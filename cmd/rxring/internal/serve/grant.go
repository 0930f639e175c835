package serve

import (
	"errors"
	"math"
	"os"
	"slices"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
)

// Grant returns the grant of the first rule that matches a peer. Without rules, this
// process's user and root have every right. The peer receives the error.
func (c *Config) Grant(p attach.Peer) (attach.Grant, error) {
	if c.Rules == nil {
		if own := uint32(os.Geteuid()); p.UID != own && p.UID != 0 {
			return attach.Grant{}, explain.Errorf(syscall.EACCES, "user %s is not user %s, whose devices these are, and no rule allows more", UserName(p.UID), UserName(own))
		}
		return attach.Grant{AllStatus: true}, nil
	}
	r := c.rule(p)
	if r == nil {
		return attach.Grant{}, explain.Errorf(syscall.EACCES, "no rule allows user %s: ask who runs this rxring for one", UserName(p.UID))
	}
	return r.grant(), nil
}

// pageGrant returns the grant of the page (--http): that of the first rule with page = true, or
// else this process's user's.
func (c *Config) pageGrant() (attach.Grant, error) {
	if c.Rules == nil {
		return attach.Grant{AllStatus: true}, nil
	}
	if r := c.pageRule(); r != nil {
		return r.grant(), nil
	}
	own := uint32(os.Geteuid())
	if r := c.rule(attach.Peer{UID: own, GID: uint32(os.Getegid())}); r != nil {
		return r.grant(), nil
	}
	return attach.Grant{}, explain.Errorf(syscall.EACCES, "no rule allows the page of --http: want page = true in an [[allow]], or a rule for user %s", UserName(own))
}

// pageRule returns the first rule with page = true, nil if none has it.
func (c *Config) pageRule() *Rule {
	i := slices.IndexFunc(c.Rules, func(r Rule) bool { return r.Page })
	if i < 0 {
		return nil
	}
	return &c.Rules[i]
}

// rule returns the first rule that matches the peer, nil if none does.
func (c *Config) rule(p attach.Peer) *Rule {
	for i := range c.Rules {
		if c.Rules[i].matches(p) {
			return &c.Rules[i]
		}
	}
	return nil
}

func (r *Rule) grant() attach.Grant {
	filter, snaplen := r.mandatory()
	g := attach.Grant{
		Socket:     rxring.Grant{Filter: filter, Snaplen: snaplen, NoSend: !r.Send, NoPromiscuous: r.NoPromiscuous},
		MaxMemory:  r.MaxMemory,
		MaxSockets: r.MaxSockets,
		AllStatus:  r.AllStatus,
	}
	if r.Devices != nil {
		g.Socket.Devices = func(d *rxring.Device) bool { return r.shows(d.Name()) }
	}
	return g
}

// mandatory returns the filter that each packet must pass, and the bytes that it keeps.
func (r *Rule) mandatory() (prog []cbpf.Instruction, snaplen int) {
	switch {
	case !r.Headers:
		return r.selects, r.Snaplen
	case r.selects == nil:
		return Headers(), headersSnaplen
	}
	prog, limit, _ := then(r.selects, Headers()) // readRule has checked that it succeeds
	return prog, int(min(headersSnaplen, limit))
}

var errComputedReturn = errors.New("it computes the length that it accepts of a packet, and so does headers: want a program that returns constants")

// then returns a program that runs second on the packets that first accepts. limit is the
// least length that first returns for a packet that it accepts.
func then(first, second []cbpf.Instruction) (prog []cbpf.Instruction, limit uint32, err error) {
	prog, limit = slices.Clone(first), math.MaxUint32
	for i, in := range prog {
		switch {
		case in.Op == cbpf.OpRetA:
			return nil, 0, errComputedReturn
		case in.Op == cbpf.OpRetK && in.K != 0:
			limit = min(limit, in.K)
			prog[i] = cbpf.Instruction{Op: cbpf.OpJA, K: uint32(len(prog) - i - 1)}
		}
	}
	prog = append(prog, second...)
	_, err = cbpf.Compile(prog)
	return prog, limit, err
}

// reachable reports whether the socket's mode lets users other than root and this process's
// connect (which requires write permission), or no rule names any.
func (c *Config) reachable() bool {
	return c.Rules == nil || c.Mode&0o022 != 0 || !slices.ContainsFunc(c.Rules, func(r Rule) bool {
		return len(r.Groups) > 0 || slices.ContainsFunc(r.Users, func(w Principal) bool { return w.Any || w.ID != 0 && int(w.ID) != os.Geteuid() })
	})
}

// equal reports whether two rules match the same peers and grant the same.
func (r *Rule) equal(o *Rule) bool {
	return slices.Equal(r.Users, o.Users) && slices.Equal(r.Groups, o.Groups) &&
		slices.Equal(r.Devices, o.Devices) && (r.Devices == nil) == (o.Devices == nil) &&
		slices.Equal(r.selects, o.selects) && r.Headers == o.Headers && r.Snaplen == o.Snaplen &&
		r.MaxMemory == o.MaxMemory && r.MaxSockets == o.MaxSockets && r.Send == o.Send && r.NoPromiscuous == o.NoPromiscuous &&
		r.AllStatus == o.AllStatus && r.Page == o.Page
}
