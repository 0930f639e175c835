package conformance

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/tpacket"
)

// table is the rows of docs/compatibility.md's table with such a head, as cells.
func table(t *testing.T, head string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "| "+head+" |"):
			inside = true
		case !strings.HasPrefix(line, "|"):
			inside = false
		case inside && !strings.HasPrefix(line, "|---"):
			var cells []string
			for _, cell := range strings.Split(strings.TrimSuffix(line[1:], "|"), "|") {
				cells = append(cells, strings.Trim(cell, " `"))
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("docs/compatibility.md has no table headed %q", head)
	}
	return rows
}

// TestTableOfOptions asks the kernel and rxring what docs/compatibility.md says
// of each option, and wants a row for each that scripts use.
func TestTableOfOptions(t *testing.T) {
	rows := make(map[string][]string)
	for _, row := range table(t, "option") {
		if len(row) != 5 {
			t.Fatalf("want five cells in %q", row)
		}
		rows[row[0]] = row
	}
	for _, name := range []string{"SO_ATTACH_FILTER", "SO_GET_FILTER"} { // their values hold pointers: other steps are for them
		if row := rows[name]; row == nil || row[1] != strconv.Itoa(unix.SO_ATTACH_FILTER) {
			t.Errorf("no row for %s, %d", name, unix.SO_ATTACH_FILTER)
		}
		delete(rows, name)
	}
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		l, err := newLab(here)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		r, err := newRxringSide()
		if err != nil {
			t.Fatal(err)
		}
		sides := map[string]*party{"kernel": {side: l.kernel}, "rxring": {side: r}}
		for _, p := range sides {
			open(0).do(p) // in a group, because PACKET_ROLLOVER_STATS is for those
			join(0, fanout{1, unix.PACKET_FANOUT_ROLLOVER, 0, -1}).do(p)
			defer p.closeAll()
		}
		for _, o := range options {
			row := rows[o.name]
			delete(rows, o.name)
			if row == nil || row[1] != strconv.Itoa(o.number) {
				t.Errorf("no row for %s, %d", o.name, o.number)
				continue
			}
			for name, p := range sides {
				if got := o.readable(p); got != row[3] {
					t.Errorf("%s: get is %q in the table, and %q of the %s", o.name, row[3], got, name)
				}
				if got := o.settable(p); got != row[2] {
					t.Errorf("%s: set is %q in the table, and %q of the %s", o.name, row[2], got, name)
				}
			}
		}
	})
	for name := range rows {
		t.Errorf("docs/compatibility.md has a row for %s, which no script uses", name)
	}
}

func (o option) readable(p *party) string {
	got := (get{0, o.level, o.number, raw(make([]byte, 64))}).do(p)
	if got.err != nil {
		return plainErrno(got)
	}
	return strconv.Itoa(got.ret)
}

func (o option) settable(p *party) string {
	got := (set{0, o.level, o.number, i32(0)}).do(p)
	switch got.errno() {
	case unix.ENOPROTOOPT, unix.EOPNOTSUPP:
		return plainErrno(got)
	}
	return "yes"
}

func plainErrno(o outcome) string {
	if o.errno() == unix.EOPNOTSUPP { // which x/sys knows by another name
		return "EOPNOTSUPP"
	}
	return errnoName(o.errno())
}

// statusBits are what rings can say of packets, and whether scripts can have the
// kernel say it.
var statusBits = []struct {
	name     string
	bit      uint32
	compared bool
}{
	{"TP_STATUS_KERNEL", tpacket.StatusKernel, true},
	{"TP_STATUS_USER", tpacket.StatusUser, true},
	{"TP_STATUS_COPY", tpacket.StatusCopy, true},
	{"TP_STATUS_LOSING", tpacket.StatusLosing, true},
	{"TP_STATUS_CSUMNOTREADY", tpacket.StatusCsumNotReady, true},
	{"TP_STATUS_VLAN_VALID", tpacket.StatusVLANValid, true},
	{"TP_STATUS_BLK_TMO", tpacket.StatusBlkTmo, true},
	{"TP_STATUS_VLAN_TPID_VALID", tpacket.StatusVLANTPID, true},
	{"TP_STATUS_CSUM_VALID", tpacket.StatusCsumValid, false},
	{"TP_STATUS_GSO_TCP", tpacket.StatusGSOTCP, true},
	{"TP_STATUS_TS_SOFTWARE", tpacket.StatusTSSoftware, false},
	{"TP_STATUS_TS_RAW_HARDWARE", tpacket.StatusTSRawHW, false},
}

func TestTableOfStatusBits(t *testing.T) {
	var want, got []string
	for _, b := range statusBits {
		compared := "no"
		if b.compared {
			compared = "yes"
		}
		want = append(want, fmt.Sprintf("%s %#x %s", b.name, b.bit, compared))
	}
	for _, row := range table(t, "bit") {
		got = append(got, strings.Join(row[:3], " "))
	}
	compareLists(t, got, want)
}

func TestTableOfDifferences(t *testing.T) {
	var want, got []string
	for _, known := range differences {
		want = append(want, known.name)
	}
	for _, row := range table(t, "difference") {
		got = append(got, row[0])
	}
	compareLists(t, got, want)
}

func compareLists(t *testing.T, got, want []string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("docs/compatibility.md has\n%s\n\nwant\n%s", g, w)
	}
}
