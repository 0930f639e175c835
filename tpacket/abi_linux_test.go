package tpacket_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// mirrors are the structs of this package and, field by field, their C names.
// A field left out has none: padding.
var mirrors = []struct {
	c      string
	mirror any
	sys    any // the same in golang.org/x/sys/unix
	fields map[string]string
}{
	{"struct tpacket_hdr", tpacket.Header1{}, unix.TpacketHdr{}, map[string]string{
		"Status": "tp_status", "Len": "tp_len", "Snaplen": "tp_snaplen", "Mac": "tp_mac", "Net": "tp_net",
		"Sec": "tp_sec", "Usec": "tp_usec"}},
	{"struct tpacket2_hdr", tpacket.Header2{}, unix.Tpacket2Hdr{}, map[string]string{
		"Status": "tp_status", "Len": "tp_len", "Snaplen": "tp_snaplen", "Mac": "tp_mac", "Net": "tp_net",
		"Sec": "tp_sec", "Nsec": "tp_nsec", "VLANTCI": "tp_vlan_tci", "VLANTPID": "tp_vlan_tpid", "Padding": "tp_padding"}},
	{"struct tpacket3_hdr", tpacket.Header3{}, unix.Tpacket3Hdr{}, map[string]string{
		"NextOffset": "tp_next_offset", "Sec": "tp_sec", "Nsec": "tp_nsec", "Snaplen": "tp_snaplen", "Len": "tp_len",
		"Status": "tp_status", "Mac": "tp_mac", "Net": "tp_net", "RxHash": "hv1.tp_rxhash", "VLANTCI": "hv1.tp_vlan_tci",
		"VLANTPID": "hv1.tp_vlan_tpid", "Padding16": "hv1.tp_padding", "Padding": "tp_padding"}},
	{"struct tpacket_block_desc", tpacket.BlockDesc{}, unix.TpacketBlockDesc{}, map[string]string{
		"Version": "version", "OffsetToPriv": "offset_to_priv", "Status": "hdr.bh1.block_status", "NumPkts": "hdr.bh1.num_pkts",
		"OffsetToFirstPkt": "hdr.bh1.offset_to_first_pkt", "BlkLen": "hdr.bh1.blk_len", "SeqNum": "hdr.bh1.seq_num",
		"First": "hdr.bh1.ts_first_pkt", "Last": "hdr.bh1.ts_last_pkt"}},
	{"struct tpacket_bd_ts", tpacket.Timestamp{}, unix.TpacketBDTS{}, map[string]string{"Sec": "ts_sec", "Nsec": "ts_nsec"}},
	{"struct sockaddr_ll", tpacket.SockaddrLL{}, unix.RawSockaddrLinklayer{}, map[string]string{
		"Family": "sll_family", "Protocol": "sll_protocol", "Ifindex": "sll_ifindex", "Hatype": "sll_hatype",
		"Pkttype": "sll_pkttype", "Halen": "sll_halen", "Addr": "sll_addr"}},
	{"struct tpacket_req", tpacket.Req{}, unix.TpacketReq{}, map[string]string{
		"BlockSize": "tp_block_size", "BlockNr": "tp_block_nr", "FrameSize": "tp_frame_size", "FrameNr": "tp_frame_nr"}},
	{"struct tpacket_req3", tpacket.Req3{}, unix.TpacketReq3{}, map[string]string{
		"BlockSize": "tp_block_size", "BlockNr": "tp_block_nr", "FrameSize": "tp_frame_size", "FrameNr": "tp_frame_nr",
		"RetireBlkTov": "tp_retire_blk_tov", "SizeofPriv": "tp_sizeof_priv", "FeatureReqWord": "tp_feature_req_word"}},
	{"struct tpacket_stats", tpacket.Stats{}, unix.TpacketStats{}, map[string]string{"Packets": "tp_packets", "Drops": "tp_drops"}},
	{"struct tpacket_stats_v3", tpacket.Stats3{}, unix.TpacketStatsV3{}, map[string]string{
		"Packets": "tp_packets", "Drops": "tp_drops", "FreezeQCount": "tp_freeze_q_cnt"}},
	{"struct tpacket_rollover_stats", tpacket.RolloverStats{}, [3]uint64{}, map[string]string{ // x/sys has no such struct
		"All": "tp_all", "Huge": "tp_huge", "Failed": "tp_failed"}},
	{"struct tpacket_auxdata", tpacket.Auxdata{}, unix.TpacketAuxdata{}, map[string]string{
		"Status": "tp_status", "Len": "tp_len", "Snaplen": "tp_snaplen", "Mac": "tp_mac", "Net": "tp_net",
		"VLANTCI": "tp_vlan_tci", "VLANTPID": "tp_vlan_tpid"}},
}

// flatFields are a struct's named fields with their offsets, those of an
// embedded struct as its own.
func flatFields(typ reflect.Type, base uintptr) (fields []reflect.StructField) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		f.Offset += base
		switch {
		case f.Anonymous:
			fields = append(fields, flatFields(f.Type, f.Offset)...)
		case f.Name != "_":
			fields = append(fields, f)
		}
	}
	return fields
}

func TestStructsAreThoseOfSysUnix(t *testing.T) {
	for _, m := range mirrors {
		ours, theirs := reflect.TypeOf(m.mirror), reflect.TypeOf(m.sys)
		if ours.Size() != theirs.Size() {
			t.Errorf("%s: %d bytes here, %d in unix.%s", m.c, ours.Size(), theirs.Size(), theirs.Name())
		}
		for _, f := range flatFields(ours, 0) {
			name, ok := m.fields[f.Name]
			if !ok {
				t.Errorf("%s: no C name for %s.%s", m.c, ours.Name(), f.Name)
			}
			if theirs.Kind() != reflect.Struct {
				continue
			}
			same, ok := theirs.FieldByNameFunc(func(n string) bool { return camel(n) == camel(name) })
			if !ok { // in a union, which x/sys keeps as bytes, or named differently
				continue
			}
			if same.Offset != f.Offset || same.Type.Size() != f.Type.Size() {
				t.Errorf("%s.%s: %d bytes at %d here, %d at %d in unix.%s", m.c, name,
					f.Type.Size(), f.Offset, same.Type.Size(), same.Offset, theirs.Name())
			}
		}
	}
}

// camel makes tp_frame_size, Frame_size and FrameSize the same.
func camel(name string) string {
	name = name[strings.LastIndexByte(name, '.')+1:]
	for _, prefix := range []string{"tp_", "sll_", "ts_"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

func TestConstantsAreThoseOfSysUnix(t *testing.T) {
	here := constants(t)
	for name, theirs := range map[string]uint64{
		"TPACKET_V1": unix.TPACKET_V1, "TPACKET_V2": unix.TPACKET_V2, "TPACKET_V3": unix.TPACKET_V3,
		"TPACKET_ALIGNMENT": unix.TPACKET_ALIGNMENT,
		"TP_STATUS_KERNEL":  unix.TP_STATUS_KERNEL, "TP_STATUS_USER": unix.TP_STATUS_USER, "TP_STATUS_COPY": unix.TP_STATUS_COPY,
		"TP_STATUS_LOSING": unix.TP_STATUS_LOSING, "TP_STATUS_CSUMNOTREADY": unix.TP_STATUS_CSUMNOTREADY,
		"TP_STATUS_VLAN_VALID": unix.TP_STATUS_VLAN_VALID, "TP_STATUS_BLK_TMO": unix.TP_STATUS_BLK_TMO,
		"TP_STATUS_VLAN_TPID_VALID": unix.TP_STATUS_VLAN_TPID_VALID, "TP_STATUS_CSUM_VALID": unix.TP_STATUS_CSUM_VALID,
		"TP_STATUS_GSO_TCP": unix.TP_STATUS_GSO_TCP, "TP_STATUS_TS_SOFTWARE": unix.TP_STATUS_TS_SOFTWARE,
		"TP_STATUS_TS_RAW_HARDWARE": unix.TP_STATUS_TS_RAW_HARDWARE,
		"TP_STATUS_AVAILABLE":       unix.TP_STATUS_AVAILABLE, "TP_STATUS_SEND_REQUEST": unix.TP_STATUS_SEND_REQUEST,
		"TP_STATUS_SENDING": unix.TP_STATUS_SENDING, "TP_STATUS_WRONG_FORMAT": unix.TP_STATUS_WRONG_FORMAT,
		"TP_FT_REQ_FILL_RXHASH": 1, // x/sys has no name for it
		"AF_PACKET":             unix.AF_PACKET, "SOL_PACKET": unix.SOL_PACKET,
		"PACKET_ADD_MEMBERSHIP": unix.PACKET_ADD_MEMBERSHIP, "PACKET_DROP_MEMBERSHIP": unix.PACKET_DROP_MEMBERSHIP,
		"PACKET_RECV_OUTPUT": unix.PACKET_RECV_OUTPUT, "PACKET_RX_RING": unix.PACKET_RX_RING,
		"PACKET_STATISTICS": unix.PACKET_STATISTICS, "PACKET_COPY_THRESH": unix.PACKET_COPY_THRESH,
		"PACKET_AUXDATA": unix.PACKET_AUXDATA, "PACKET_ORIGDEV": unix.PACKET_ORIGDEV, "PACKET_VERSION": unix.PACKET_VERSION,
		"PACKET_HDRLEN": unix.PACKET_HDRLEN, "PACKET_RESERVE": unix.PACKET_RESERVE, "PACKET_TX_RING": unix.PACKET_TX_RING,
		"PACKET_LOSS": unix.PACKET_LOSS, "PACKET_VNET_HDR": unix.PACKET_VNET_HDR, "PACKET_TX_TIMESTAMP": unix.PACKET_TX_TIMESTAMP,
		"PACKET_TIMESTAMP": unix.PACKET_TIMESTAMP, "PACKET_FANOUT": unix.PACKET_FANOUT, "PACKET_TX_HAS_OFF": unix.PACKET_TX_HAS_OFF,
		"PACKET_QDISC_BYPASS": unix.PACKET_QDISC_BYPASS, "PACKET_ROLLOVER_STATS": unix.PACKET_ROLLOVER_STATS,
		"PACKET_FANOUT_DATA": unix.PACKET_FANOUT_DATA, "PACKET_IGNORE_OUTGOING": unix.PACKET_IGNORE_OUTGOING,
		"PACKET_VNET_HDR_SZ": unix.PACKET_VNET_HDR_SZ,
		"PACKET_FANOUT_HASH": unix.PACKET_FANOUT_HASH, "PACKET_FANOUT_LB": unix.PACKET_FANOUT_LB, "PACKET_FANOUT_CPU": unix.PACKET_FANOUT_CPU,
		"PACKET_FANOUT_ROLLOVER": unix.PACKET_FANOUT_ROLLOVER, "PACKET_FANOUT_RND": unix.PACKET_FANOUT_RND,
		"PACKET_FANOUT_QM": unix.PACKET_FANOUT_QM, "PACKET_FANOUT_CBPF": unix.PACKET_FANOUT_CBPF,
		"PACKET_FANOUT_EBPF":          unix.PACKET_FANOUT_EBPF,
		"PACKET_FANOUT_FLAG_ROLLOVER": unix.PACKET_FANOUT_FLAG_ROLLOVER, "PACKET_FANOUT_FLAG_UNIQUEID": unix.PACKET_FANOUT_FLAG_UNIQUEID,
		"PACKET_FANOUT_FLAG_IGNORE_OUTGOING": unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING, "PACKET_FANOUT_FLAG_DEFRAG": unix.PACKET_FANOUT_FLAG_DEFRAG,
		"PACKET_HOST": unix.PACKET_HOST, "PACKET_BROADCAST": unix.PACKET_BROADCAST, "PACKET_MULTICAST": unix.PACKET_MULTICAST,
		"PACKET_OTHERHOST": unix.PACKET_OTHERHOST, "PACKET_OUTGOING": unix.PACKET_OUTGOING,
		"ETH_P_802_3": unix.ETH_P_802_3, "ETH_P_ALL": unix.ETH_P_ALL, "ETH_P_802_2": unix.ETH_P_802_2, "ETH_P_IP": unix.ETH_P_IP,
		"ETH_P_ARP": unix.ETH_P_ARP, "ETH_P_8021Q": unix.ETH_P_8021Q, "ETH_P_IPV6": unix.ETH_P_IPV6,
		"ETH_P_8021AD": unix.ETH_P_8021AD, "ETH_P_802_3_MIN": unix.ETH_P_802_3_MIN,
	} {
		if ours, ok := here[name]; !ok {
			t.Errorf("%s: not in consts.go under its C name", name)
		} else if ours != theirs {
			t.Errorf("%s: %d here, %d in x/sys/unix", name, ours, theirs)
		}
		delete(here, name)
	}
	for _, m := range mirrors {
		if ours, ok := here[m.c]; ok && ours != uint64(reflect.TypeOf(m.sys).Size()) {
			t.Errorf("sizeof(%s): %d here, %d in x/sys/unix", m.c, ours, reflect.TypeOf(m.sys).Size())
		}
		delete(here, m.c)
	}
	if len(here) > 0 {
		t.Errorf("compared with nothing: %v", slices.Sorted(maps.Keys(here)))
	}
}

// TestTheCCompilerAgrees compiles a program against <linux/if_packet.h> that
// prints every constant, size and offset, and compares.
func TestTheCCompilerAgrees(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		need.Skip(t, need.Inapplicable, "the package mirrors the structs of 64-bit programs")
	}
	need.Program(t, "cc")
	want := make(map[string]uint64) // by C expression
	for name, value := range constants(t) {
		if strings.HasPrefix(name, "struct ") {
			name = "sizeof(" + name + ")"
		}
		want[name] = value
	}
	for _, m := range mirrors {
		typ := reflect.TypeOf(m.mirror)
		want["sizeof("+m.c+")"] = uint64(typ.Size())
		for _, f := range flatFields(typ, 0) {
			want[fmt.Sprintf("offsetof(%s, %s)", m.c, m.fields[f.Name])] = uint64(f.Offset)
			want[fmt.Sprintf("sizeof(((%s *)0)->%s)", m.c, m.fields[f.Name])] = uint64(f.Type.Size())
		}
	}
	want["TPACKET_HDRLEN"] = uint64(tpacket.V1.HdrLen())
	want["TPACKET2_HDRLEN"] = uint64(tpacket.V2.HdrLen())
	want["TPACKET3_HDRLEN"] = uint64(tpacket.V3.HdrLen())
	for _, n := range []int{0, 1, 15, 16, 17, 4095} {
		want[fmt.Sprintf("TPACKET_ALIGN(%d)", n)] = uint64(tpacket.Align(n))
	}

	got, missing := askC(t, slices.Sorted(maps.Keys(want)))
	for expr, value := range want {
		if c, ok := got[expr]; ok && c != value {
			t.Errorf("%s: %d here, %d in C", expr, value, c)
		}
	}
	if len(missing) > 0 {
		t.Logf("NOT COMPARED WITH C: these kernel headers do not have %v", missing)
	}
}

// askC compiles and runs a program that prints the expressions' values. Names
// that the headers are too old for come back as missing.
func askC(t *testing.T, exprs []string) (values map[string]uint64, missing []string) {
	t.Helper()
	dir := t.TempDir()
	source, program := filepath.Join(dir, "abi.c"), filepath.Join(dir, "abi")
	var undeclared = regexp.MustCompile(`['‘"](\w+)['’"] undeclared|undeclared identifier '(\w+)'`)
	for {
		var b strings.Builder
		b.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <sys/socket.h>\n#include <linux/if_arp.h>\n" +
			"#include <linux/if_ether.h>\n#include <linux/if_packet.h>\nint main(void) {\n")
		for _, e := range exprs {
			fmt.Fprintf(&b, "\tprintf(\"%%s=%%llu\\n\", %q, (unsigned long long)(%s));\n", e, e)
		}
		b.WriteString("\treturn 0;\n}\n")
		if err := os.WriteFile(source, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("cc", "-o", program, source)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		if bytes.Contains(out, []byte("No such file or directory")) {
			need.Skip(t, need.Programs, "no kernel headers: %s", out)
		}
		before := len(exprs)
		for _, m := range undeclared.FindAllStringSubmatch(string(out), -1) {
			if i := slices.Index(exprs, m[1]+m[2]); i >= 0 {
				missing = append(missing, exprs[i])
				exprs = slices.Delete(exprs, i, i+1)
			}
		}
		if len(exprs) == before {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	out, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	values = make(map[string]uint64)
	for line := range strings.Lines(string(out)) {
		expr, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[expr], err = strconv.ParseUint(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
	}
	return values, missing
}

// constants are the package's exported integer constants by the C name that
// begins the comment of each in consts.go; those whose comment begins with a
// struct stand for its size.
func constants(t *testing.T) map[string]uint64 {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "consts.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Defs: make(map[*ast.Ident]types.Object)}
	conf := types.Config{Importer: importer.Default(), IgnoreFuncBodies: true, Error: func(error) {}}
	conf.Check("tpacket", fset, []*ast.File{file}, info) // only strconv may be missing: no constant needs it

	cName := regexp.MustCompile(`^(struct \w+|[A-Z][A-Z0-9_]+)`)
	values := make(map[string]uint64)
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			spec := spec.(*ast.ValueSpec)
			comment := spec.Comment.Text() + spec.Doc.Text()
			if len(gen.Specs) == 1 {
				_, comment, _ = strings.Cut(gen.Doc.Text(), " is ")
			}
			for _, ident := range spec.Names {
				c, ok := info.Defs[ident].(*types.Const)
				if !ok || !c.Exported() {
					continue
				}
				value, exact := constant.Uint64Val(constant.ToInt(c.Val()))
				name := cName.FindString(comment)
				if name == "" && c.Type().String() == "tpacket.Version" {
					name = "TPACKET_" + ident.Name
				}
				if name == "" || !exact {
					t.Errorf("consts.go: %s: its comment does not begin with a C name", ident.Name)
				}
				values[name] = value
			}
		}
	}
	return values
}

func TestHardwareTypesAreThoseOfSysUnix(t *testing.T) {
	for here, theirs := range map[uint16]uint16{
		tpacket.ARPHRDNone: unix.ARPHRD_NONE, tpacket.ARPHRDEther: unix.ARPHRD_ETHER, tpacket.ARPHRDLoopback: unix.ARPHRD_LOOPBACK,
		tpacket.ARPHRDPPP: unix.ARPHRD_PPP, tpacket.ARPHRDIEEE1394: unix.ARPHRD_IEEE1394, tpacket.ARPHRDInfiniband: unix.ARPHRD_INFINIBAND,
	} {
		if here != theirs {
			t.Errorf("%d: unix has %d", here, theirs)
		}
	}
}
