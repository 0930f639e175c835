// Package pcapfilter compiles filter expressions, as "tcp port 80", with the
// system's libpcap: what tcpdump understands, it understands, and to the same
// instructions. libpcap is loaded when the first expression comes, without cgo.
//
// A program with this package in it is linked dynamically on Linux, also with
// CGO_ENABLED=0: the C library must be there to load another. Built with the tag
// nolibpcap it stays static, and refuses expressions.
//
// # VLAN tags
//
// Linux keeps the outermost tag of a packet beside the frame, where libpcap's
// programs find it with loads that only Linux has (SKF_AD_VLAN_TAG). libpcap makes
// such programs for live captures of its own alone, and there is no public way to ask
// for one. A program from here looks for tags inside the frame. That is the same for
// every expression but those with the word vlan: for them a reader puts the tag back
// first and runs the program itself. [Tags] tells which they are.
package pcapfilter

import "strings"

// Tags says whether the meaning of expr hangs on VLAN tags being inside the frame.
// It may be true of one that only has a host of that name.
func Tags(expr string) bool {
	for _, word := range strings.FieldsFunc(expr, func(r rune) bool {
		// what libpcap's scanner takes for a part of a word
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:", r))
	}) {
		if word == "vlan" {
			return true
		}
	}
	return false
}

// dlt is libpcap's own number (DLT_*) for a link type as files have it (LINKTYPE_*).
// They differ in a few old ones, of which only raw IP is in use.
func dlt(linktype int) int {
	const (
		linktypeRaw = 101
		dltRaw      = 12 // everywhere but on OpenBSD
	)
	if linktype == linktypeRaw {
		return dltRaw
	}
	return linktype
}
