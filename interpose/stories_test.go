//go:build linux && (amd64 || arm64)

package interpose

func tell(string) int { return 0 }
