package serve

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

// Rule is an [[allow]]: who it is for, and what they get.
type Rule struct {
	Line int // in the file

	Users, Groups []Who // whoever is one of the users or in one of the groups

	Devices    []string // names, with * and ? and [...]; nil: all
	Filter     string   // an expression; "": none
	FilterDDD  []cbpf.Instruction
	Headers    bool // no payload: see Headers
	Snaplen    int  // bytes; 0: all
	MaxMemory  int64
	MaxSockets int
	Send       bool
	AllStatus  bool // status = "all"

	NoPromiscuous bool // promiscuous = false

	selects []cbpf.Instruction // Filter's program, or FilterDDD
}

const (
	// maxSnaplen is what tcpdump asks for when it wants everything.
	maxSnaplen = 262144
	// maxSockets is far from what a process may have open.
	maxSockets = 4096
)

// readRule reads a table. What it returns is of use if the document has no faults.
func readRule(t *table, env Env) Rule {
	r := Rule{Line: t.doc.line(t.path)}
	r.Users = items(t, "users", `users' names or numbers, or ["*"] for everybody`, func(v any) (Who, error) {
		return readAnyOr(v, env.User, "user")
	})
	r.Groups = items(t, "groups", "groups' names or numbers", func(v any) (Who, error) {
		return readWho(v, env.Group, "group")
	})
	if !t.has("users") && !t.has("groups") {
		t.doc.fault(t.path, `allow: nobody is named: want users or groups, or users = ["*"] for everybody`)
	}
	r.Devices = items(t, "devices", `devices' names, such as "eth0" or "wg*"`, func(v any) (string, error) {
		name, ok := v.(string)
		if _, err := path.Match(name, ""); !ok || name == "" || err != nil {
			return "", fmt.Errorf("%v: want a device's name, in which * stands for any characters, ? for one and [a-c] for one of them", v)
		}
		return name, nil
	})
	r.readFilter(t, env)
	r.readSnaplen(t)
	if r.Headers && r.selects != nil {
		if _, _, err := then(r.selects, Headers()); err != nil {
			t.fault(cmp.Or(t.given("filter"), "filter_ddd"), "%v", err)
		}
	}
	r.MaxMemory = t.size("max_memory")
	if n, ok := t.integer("max_sockets", 1, maxSockets, fmt.Sprintf("1 to %d", maxSockets)); ok {
		r.MaxSockets = int(n)
	}
	r.Send, _ = get[bool](t, "send", "true or false")
	if promiscuous, ok := get[bool](t, "promiscuous", "true or false"); ok {
		r.NoPromiscuous = !promiscuous
	}
	if s, ok := get[string](t, "status", `"own" or "all"`); ok {
		if r.AllStatus = s == "all"; s != "all" && s != "own" {
			t.fault("status", `%q: want "own" or "all"`, s)
		}
	}
	return r
}

func (r *Rule) readFilter(t *table, env Env) {
	expr, ok := get[string](t, "filter", `an expression such as "tcp port 80"`)
	ddd, okDDD := get[string](t, "filter_ddd", "a program as tcpdump -ddd prints it")
	switch {
	case ok && strings.TrimSpace(expr) == "":
		t.fault("filter", "it is empty: want an expression such as \"tcp port 80\", or no filter at all for all packets")
	case ok && okDDD:
		t.fault("filter_ddd", "there is a filter, too: want one of them")
	case ok:
		prog, err := env.Filter(expr)
		if err != nil {
			t.fault("filter", "%v", err)
		}
		r.Filter, r.selects = expr, prog
	case okDDD:
		prog, err := parseDDD(ddd)
		if err != nil {
			t.fault("filter_ddd", "%v", err)
		}
		r.FilterDDD, r.selects = prog, prog
	}
}

func (r *Rule) readSnaplen(t *table) {
	want := fmt.Sprintf(`"headers", or 1 to %d bytes`, maxSnaplen)
	if text, ok := t.values["snaplen"].(string); ok {
		t.known["snaplen"] = true
		if r.Headers = text == "headers"; !r.Headers {
			t.fault("snaplen", "%q: want %s", text, want)
		}
		return
	}
	n, _ := t.integer("snaplen", 1, maxSnaplen, want)
	r.Snaplen = int(n)
}

// compile makes one program of an expression, for devices of all types: of those
// without an Ethernet header IP packets can pass, others never.
func compile(expr string) ([]cbpf.Instruction, error) {
	if strings.TrimSpace(expr) == "" {
		return nil, errors.New(`it is empty: want an expression such as "tcp port 80"`)
	}
	if pcapfilter.Tags(expr) {
		return nil, fmt.Errorf("%q: VLAN tags lie beside the packet here, where such a program does not look: want what tcpdump -ddd -i DEVICE prints for it, as filter_ddd", expr)
	}
	ether, err := pcapfilter.Compile(expr, int(capfile.LinkEthernet), 0)
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, fmt.Errorf("%w; or what tcpdump -ddd prints, as filter_ddd", err)
		}
		return nil, err
	}
	raw, err := pcapfilter.Compile(expr, int(capfile.LinkRaw), 0)
	if err != nil { // an expression about Ethernet: nothing of raw IP passes
		raw = []cbpf.Instruction{{Op: opRet}}
	}
	prog := []cbpf.Instruction{
		{Op: opLoadAbs, K: adHatype},
		{Op: opJumpEqual, K: tpacket.ARPHRDEther, Jt: 2},
		{Op: opJumpEqual, K: tpacket.ARPHRDLoopback, Jt: 1},
		{Op: opJump, K: uint32(len(ether))},
	}
	prog = append(prog, ether...)
	prog = append(prog,
		cbpf.Instruction{Op: opLoadAbs, K: adProtocol},
		cbpf.Instruction{Op: opJumpEqual, K: tpacket.ETHPIP, Jt: 2},
		cbpf.Instruction{Op: opJumpEqual, K: tpacket.ETHPIPv6, Jt: 1},
		cbpf.Instruction{Op: opRet},
	)
	prog = append(prog, behindLinkLayer(raw)...)
	if _, err := cbpf.Compile(prog); err != nil {
		return nil, err
	}
	return prog, nil
}

// behindLinkLayer has a program for bare IP count offsets from the network header,
// wherever that is.
func behindLinkLayer(prog []cbpf.Instruction) []cbpf.Instruction {
	const (
		classMask, load, loadX      = 0x07, 0x00, 0x01 // BPF_CLASS, BPF_LD, BPF_LDX
		modeMask                    = 0xe0             // BPF_MODE
		absolute, indirect, header4 = 0x20, 0x40, 0xa0 // BPF_ABS, BPF_IND, BPF_MSH
	)
	for i := range prog {
		class, mode := prog[i].Op&classMask, prog[i].Op&modeMask
		if (class == load || class == loadX) && (mode == absolute || mode == indirect || mode == header4) && prog[i].K < netOff {
			prog[i].K += netOff
		}
	}
	return prog
}

// What compile writes by hand (linux/bpf_common.h, linux/filter.h).
const (
	opLoadAbs   = 0x20       // BPF_LD | BPF_W | BPF_ABS
	opJump      = 0x05       // BPF_JMP | BPF_JA
	opJumpEqual = 0x15       // BPF_JMP | BPF_JEQ | BPF_K
	opRet       = 0x06       // BPF_RET | BPF_K
	adProtocol  = 0xfffff000 // SKF_AD_OFF + SKF_AD_PROTOCOL
	adHatype    = adProtocol + 28
)

// names says whether the rule is for a peer.
func (r *Rule) names(p attach.Peer) bool {
	for _, u := range r.Users {
		if u.is(p.UID) {
			return true
		}
	}
	for _, g := range r.Groups {
		if g.is(p.GID) {
			return true
		}
		for _, id := range p.Groups {
			if g.is(id) {
				return true
			}
		}
	}
	return false
}

// shows says whether the rule grants a device of that name.
func (r *Rule) shows(device string) bool {
	if r.Devices == nil {
		return true
	}
	for _, pattern := range r.Devices {
		if ok, _ := path.Match(pattern, device); ok {
			return true
		}
	}
	return false
}
