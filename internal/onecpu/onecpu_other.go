//go:build !linux

package onecpu

func wire() {}

func wireAll() {}

func unwireAll() func() { return nil }
