//go:build !linux

package onecpu

func pin() {}

func pinAll() {}

func unpinAll() func() { return nil }
