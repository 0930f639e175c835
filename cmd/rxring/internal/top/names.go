package top

import (
	"os/user"
	"strconv"
)

// names looks up users and programs of peers. It must not be used concurrently.
type names struct {
	users map[uint32]string
}

// addTo sets the User and Program of r's sockets, as far as this process may see them.
func (n *names) addTo(r *Report) {
	programs := make(map[int]string) // not kept: a PID's program changes
	for i := range r.Sockets {
		s := &r.Sockets[i]
		s.User = n.user(s.Peer.UID)
		name, ok := programs[s.Peer.PID]
		if !ok {
			name = program(s.Peer)
			programs[s.Peer.PID] = name
		}
		s.Program = name
	}
}

func (n *names) user(uid uint32) string {
	name, ok := n.users[uid]
	if !ok {
		if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
			name = u.Username
		}
		if n.users == nil {
			n.users = make(map[uint32]string)
		}
		n.users[uid] = name
	}
	return name
}

// describeReader names a reader: program, user, PID.
func describeReader(s *Socket) string {
	if s.Session != nil {
		return describeReaders(s.Session)
	}
	text := ""
	for _, word := range []string{s.Program, userName(s), "pid " + strconv.Itoa(s.Peer.PID)} {
		if word != "" {
			text += " " + clean(word)
		}
	}
	return text[1:]
}

func userName(s *Socket) string {
	if s.User != "" {
		return s.User
	}
	return "uid " + strconv.FormatUint(uint64(s.Peer.UID), 10)
}
