// Package pcapfilter compiles filter expressions such as "tcp port 80" with the system's
// libpcap, to the same instructions as tcpdump. It loads libpcap for the first expression,
// without cgo.
//
// On Linux a program that imports this package is linked dynamically, also with
// CGO_ENABLED=0, because loading a library needs the C library. Built with the tag nolibpcap
// it is static and refuses expressions.
//
// # VLAN tags
//
// Linux stores the outermost tag of a packet beside the frame, where libpcap's programs
// read it with loads that only Linux has (SKF_AD_VLAN_TAG). libpcap compiles such programs
// only for its own live captures, and has no public function for it. The programs of this
// package expect tags inside the frame. That differs only for expressions with the word
// vlan: a reader must insert the tag first and run such a program itself. [Tags] reports
// which expressions they are.
package pcapfilter

import "strings"

// Tags reports whether expr depends on VLAN tags inside the frame. It is also true for an
// expression with a host of the name vlan.
func Tags(expr string) bool {
	for _, word := range strings.FieldsFunc(expr, func(r rune) bool {
		// characters of a word in libpcap's scanner
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:", r))
	}) {
		if word == "vlan" {
			return true
		}
	}
	return false
}

// DLT returns libpcap's number (DLT_*) for a link type of files (LINKTYPE_*). They differ
// for a few old types, of which only raw IP is in use.
func DLT(linktype int) int {
	const (
		linktypeRaw = 101
		dltRaw      = 12 // everywhere but on OpenBSD
	)
	if linktype == linktypeRaw {
		return dltRaw
	}
	return linktype
}
