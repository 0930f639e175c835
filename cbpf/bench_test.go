package cbpf

import "testing"

// BenchmarkRun compares with golang.org/x/net/bpf's machine on programs that
// both can run.
func BenchmarkRun(b *testing.B) {
	http := ethernet(0x800, ipv4(6, tcp(40000, 80, make([]byte, 100))))
	https := ethernet(0x800, ipv4(6, tcp(40000, 443, make([]byte, 100))))
	http6 := ethernet(0x86dd, ipv6(6, tcp(40000, 80, make([]byte, 100))))
	for _, c := range []struct {
		name, expression string
		packet           []byte
	}{
		{"tcp_port_80", "tcp port 80", http},
		{"tcp_port_80_ip6", "tcp port 80", http6},
		{"tcp_port_80_other", "tcp port 80", https},
		{"ip6", "ip6", http},
		{"portrange", "tcp portrange 8000-8100", http},
		{"nets", "dst net 10.0.0.0/8 or dst net 172.16.0.0/12 or dst net 192.168.0.0/16", http},
		{"http_with_data", "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)", http},
	} {
		prog := libpcap(b, "en10mb.txt", c.expression)
		b.Run("rxring/"+c.name, func(b *testing.B) {
			f := mustCompile(b, prog)
			p := whole(c.packet)
			b.ReportAllocs()
			for b.Loop() {
				f.Run(p)
			}
		})
		b.Run("xnet/"+c.name, func(b *testing.B) {
			vm, ok := xnet(prog)
			if !ok {
				b.Fatal("x/net cannot run it")
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := vm.Run(c.packet); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("rxring/vlan_live", func(b *testing.B) { // x/net cannot run it
		f := mustCompile(b, libpcap(b, "live_lo.txt", "vlan 5 and tcp"))
		p := whole(http)
		p.VLANPresent, p.VLANTCI = true, 5
		b.ReportAllocs()
		for b.Loop() {
			f.Run(p)
		}
	})
}
