//go:build !linux

package top

import "github.com/rxring/rxring/attach"

// program returns "": other systems than Linux have no /proc to find the name in.
func program(attach.Peer) string { return "" }
