package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionNamesWhatWasBuilt(t *testing.T) {
	const revision = "0123456789abcdef0123456789abcdef01234567"
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
	}
	tests := []struct {
		name    string
		version string
		vcs     []debug.BuildSetting
		pkg     string
		want    string
	}{
		{"go install", "v0.1.0", nil, "", "rxring v0.1.0"},
		{"make build", "v0.1.1-0.20261129091514-0123456789ab", vcs("false"), "", "rxring v0.1.1-0.20261129091514-0123456789ab, commit 0123456789ab"},
		{"make build in a changed work tree", "v0.1.0+dirty", vcs("true"), "", "rxring v0.1.0+dirty, commit 0123456789ab (modified)"},
		{"go build -buildvcs=false", "(devel)", nil, "", "rxring (devel)"},
		{"go run of files", "", nil, "", "rxring (devel)"},
		{"package of a repository", "v0.1.0", vcs("false"), "0.1.0-1", "rxring 0.1.0-1, commit 0123456789ab"},
		{"package of a tarball", "(devel)", nil, "0.1.0-1", "rxring 0.1.0-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info := &debug.BuildInfo{Main: debug.Module{Version: tt.version}, Settings: tt.vcs}
			want := tt.want + ", " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
			if got := describeBuild(info, tt.pkg); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
