//go:build linux

package rtnl

import (
	"math"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// linux/fib_rules.h
const (
	sizeofRuleHdr = 12 // struct fib_rule_hdr
	frToTable     = 1  // FR_ACT_TO_TBL

	fraPriority, fraSuppressPrefixlen, fraTable, fraProtocol = 6, 14, 15, 21 // FRA_*
)

// rule makes packets be looked up in a table of routes, in the order of priorities.
type rule struct {
	family   uint8
	table    uint8
	priority uint32
}

// rules are those of each network namespace of Linux (fib4_rules_init, fib6_rules_net_init).
var rules = []rule{
	{unix.AF_INET, unix.RT_TABLE_LOCAL, 0},
	{unix.AF_INET, unix.RT_TABLE_MAIN, 32766},
	{unix.AF_INET, unix.RT_TABLE_DEFAULT, 32767},
	{unix.AF_INET6, unix.RT_TABLE_LOCAL, 0},
	{unix.AF_INET6, unix.RT_TABLE_MAIN, 32766},
}

// dumpRules makes the list that RTM_GETRULE asks for, as fib_nl_dumprule does
// (net/core/fib_rules.c).
func (s *Socket) dumpRules(d *dump, r request) {
	d.typ, d.together = unix.RTM_NEWRULE, true
	family := r.body[0]
	if s.option[unix.NETLINK_GET_STRICT_CHK] &&
		(len(r.body) != sizeofRuleHdr || slices.ContainsFunc(r.body[1:], func(b byte) bool { return b != 0 })) {
		d.errno = syscall.EINVAL
		return
	}
	if _, routed := routeTables[family]; !routed && family != unix.AF_UNSPEC {
		d.errno = syscall.EAFNOSUPPORT
		return
	}
	for _, rule := range rules {
		if family == unix.AF_UNSPEC || family == rule.family {
			d.items = append(d.items, rule.message)
		}
	}
}

// message lays out the rule as fib_nl_fill_rule does.
func (r rule) message(h header) []byte {
	hdr := make([]byte, sizeofRuleHdr)
	hdr[0], hdr[4], hdr[7] = r.family, r.table, frToTable
	var a attrs
	a.uint32(fraTable, uint32(r.table))
	a.uint32(fraSuppressPrefixlen, math.MaxUint32) // none
	a.uint8(fraProtocol, unix.RTPROT_KERNEL)
	if r.priority != 0 {
		a.uint32(fraPriority, r.priority)
	}
	return message(h, hdr, a)
}
