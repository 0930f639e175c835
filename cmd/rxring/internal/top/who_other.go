//go:build !linux

package top

import "github.com/rxring/rxring/attach"

// program is the name of the peer's program: nobody knows here.
func program(attach.Peer) string { return "" }
