package pcapfilter

import "testing"

func TestTags(t *testing.T) {
	for expr, want := range map[string]bool{
		"": false, "tcp port 80": false, "vlan": true, "vlan 5": true, "not(vlan and ip)": true, "tcp or !vlan": true,
		"host vlan.example.org": false, "host my-vlan": false, "tcp and\nvlan\t7": true, "host vlan": true,
	} {
		if got := Tags(expr); got != want {
			t.Errorf("%q: %v", expr, got)
		}
	}
}
