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

// Grant is what a peer gets: of the first rule that names it. Without rules, this
// process's user and root get everything. The error is what the peer is told.
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

// rule is the first that names the peer, nil: none does.
func (c *Config) rule(p attach.Peer) *Rule {
	for i := range c.Rules {
		if c.Rules[i].names(p) {
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

// mandatory is the program that each packet must pass, and how much of it there is.
func (r *Rule) mandatory() (prog []cbpf.Instruction, snaplen int) {
	switch {
	case !r.Headers:
		return r.selects, r.Snaplen
	case r.selects == nil:
		return Headers(), headersSnaplen
	}
	prog, limit, _ := then(r.selects, Headers()) // readRule has tried
	return prog, int(min(headersSnaplen, limit))
}

var errComputedReturn = errors.New("it computes how much of a packet it lets through, which headers does, too: want a program that returns constants")

// then is a program that accepts what first accepts, and of it what second returns.
// limit is the least that first lets through of a packet that it accepts.
func then(first, second []cbpf.Instruction) (prog []cbpf.Instruction, limit uint32, err error) {
	const (
		classMask = 0x07
		classRet  = 0x06
	)
	prog, limit = slices.Clone(first), math.MaxUint32
	for i, in := range prog {
		switch {
		case in.Op&classMask != classRet:
		case in.Op != opRet:
			return nil, 0, errComputedReturn
		case in.K != 0:
			limit = min(limit, in.K)
			prog[i] = cbpf.Instruction{Op: opJump, K: uint32(len(prog) - i - 1)}
		}
	}
	prog = append(prog, second...)
	_, err = cbpf.Compile(prog)
	return prog, limit, err
}

// opened says, for a warning, whether the socket's file lets others connect, which
// takes write permission, or no rule names any.
func (c *Config) opened() bool {
	return c.Rules == nil || c.Mode&0o022 != 0 || !slices.ContainsFunc(c.Rules, func(r Rule) bool {
		return len(r.Groups) > 0 || slices.ContainsFunc(r.Users, func(w Who) bool { return w.Any || w.ID != 0 && int(w.ID) != os.Geteuid() })
	})
}

// equal says whether two rules grant the same to the same.
func (r *Rule) equal(o *Rule) bool {
	return slices.Equal(r.Users, o.Users) && slices.Equal(r.Groups, o.Groups) &&
		slices.Equal(r.Devices, o.Devices) && (r.Devices == nil) == (o.Devices == nil) &&
		slices.Equal(r.selects, o.selects) && r.Headers == o.Headers && r.Snaplen == o.Snaplen &&
		r.MaxMemory == o.MaxMemory && r.MaxSockets == o.MaxSockets && r.Send == o.Send && r.NoPromiscuous == o.NoPromiscuous &&
		r.AllStatus == o.AllStatus
}
