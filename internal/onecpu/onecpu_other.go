//go:build !linux

package onecpu

func wire() {}
