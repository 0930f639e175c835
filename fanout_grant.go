package rxring

// A member of a group judges each packet that it gets by its own grant. But who
// gets which packet must not tell of what nobody may see, either: so the group
// chooses among packets that its first member is granted, by what that one sees of
// them. Members of a group are in one scope, and so one user's.

// sees says whether all members are granted d. Namespace.mu is held.
func (g *group) sees(d *Device) bool {
	if g.grants == 0 {
		return true
	}
	for _, s := range *g.members.Load() {
		if !s.grant.sees(int32(d.index)) {
			return false
		}
	}
	return true
}

// count notes that a member with the grant gr, if it is one, came or went.
// Namespace.mu is held.
func (g *group) count(gr *granted, by int) {
	if gr != nil {
		g.grants += by
	}
}

// regrant goes by the grant of who is the first member now, if it bounds anything.
// Namespace.mu is held.
func (g *group) regrant() {
	var (
		gr *granted
		of *Account
	)
	if members := *g.members.Load(); len(members) > 0 {
		of = members[0].grant.account()
		if members[0].grant.bounds() {
			gr = members[0].grant
		}
	}
	g.grant.Store(gr)
	g.account.Store(of)
}

// giveGranted is give for a group whose first member has the grant gr.
//
//go:noinline
func (g *group) giveGranted(gr *granted, members []*Socket, p *Packet, a *arrival) {
	seen := gr.judge(p, a)
	if seen == 0 || len(members) == 0 {
		return
	}
	v := limit(p, a, seen, 0)
	v.packet.Rest = v.rest[:v.pieces]
	members[g.choose(members, &v.packet, &v.arrival)].receive(p, a)
}
