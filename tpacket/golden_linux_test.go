package tpacket_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

var update = flag.Bool("update", false, "record the golden frames from the running kernel")

func TestKernelWritesTheGoldenFrames(t *testing.T) {
	if os.Getpagesize() != goldenPage {
		need.Skip(t, need.Inapplicable, "pages of %d bytes here, %d in the golden files", os.Getpagesize(), goldenPage)
	}
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		cases := goldenCases()
		recorded := recordAll(t, cases)
		if *update {
			writeGolden(t, cases, recorded)
			return
		}
		golden := make(map[tpacket.Version]map[string]goldenEntry)
		for v, path := range goldenPath {
			golden[v] = readGolden(t, path)
		}
		for i, c := range cases {
			want := golden[c.version][c.name]
			if !bytes.Equal(recorded[i], want.memory) {
				t.Errorf("%s %s: this kernel writes\n%sthe golden file has\n%s", c.version, c.name, dump(recorded[i]), dump(want.memory))
			}
		}
	})
}

// recordAll asks the kernel every case. Making and closing rings is slow (the
// kernel waits for all processors), so several namespaces share the work.
func recordAll(t *testing.T, cases []goldenCase) [][]byte {
	const workers = 16
	recorded := make([][]byte, len(cases))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			lab, err := newLab()
			if err != nil {
				t.Error(err)
				return
			}
			defer lab.close()
			for i := w; i < len(cases); i += workers {
				recorded[i], err = lab.record(cases[i])
				if err != nil {
					t.Errorf("%s %s: %v", cases[i].version, cases[i].name, err)
				}
			}
		})
	}
	wg.Wait()
	return recorded
}

// lab is a namespace with the two devices of the cases.
type lab struct {
	ns      *kring.Namespace
	devices map[string]*kring.Device
}

func newLab() (*lab, error) {
	ns, err := kring.New()
	if err != nil {
		return nil, err
	}
	l := &lab{ns, make(map[string]*kring.Device)}
	if l.devices[tap.name], err = ns.TAP(tap.name, tap.index, tap.addr); err == nil {
		l.devices[tun.name], err = ns.TUN(tun.name, tun.index)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	for _, d := range l.devices {
		if d != nil {
			d.Close()
		}
	}
	l.ns.Close()
}

func (l *lab) record(c goldenCase) ([]byte, error) {
	var err error
	for range 20 { // a V3 block whose timer ran out between two packets holds too few
		var memory []byte
		memory, err = l.recordOnce(c)
		if !errors.Is(err, errBlockSplit) {
			return memory, err
		}
	}
	return nil, err
}

var errBlockSplit = errors.New("the block's timer ran out between two packets")

func (l *lab) recordOnce(c goldenCase) ([]byte, error) {
	config := kring.RingConfig{
		Type: unix.SOCK_RAW, Version: c.version, Reserve: c.reserve,
		VnetHdr: c.vnetHdr, CopyThresh: c.copyThresh, Request: c.request,
	}
	if c.dgram {
		config.Type = unix.SOCK_DGRAM
	}
	ring, err := l.ns.OpenRing(config)
	if err != nil {
		return nil, err
	}
	defer ring.Close()
	if err := ring.Bind(c.packets[0].dev.index, tpacket.ETHPAll); err != nil {
		return nil, err
	}
	for _, p := range c.packets {
		if err := l.inject(p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if c.version == tpacket.V3 {
		return readBlocks(ring, len(c.delivered()))
	}
	if err := ring.Wait(0, 5*time.Second); err != nil {
		return nil, err
	}
	if ring.Status(1) != tpacket.StatusKernel {
		return nil, errors.New("a packet that was never sent")
	}
	return scrubFrame(c.version, ring.Frame(0)), nil
}

// readBlocks waits for the blocks that hold n packets and returns their used
// parts.
func readBlocks(ring *kring.Ring, n int) (memory []byte, err error) {
	for i := uint32(0); ; i++ {
		if err := ring.Wait(i, 5*time.Second); err != nil {
			return nil, err
		}
		block := scrubBlock(ring.Block(i))
		memory = append(memory, block...)
		d := tpacket.Parse[tpacket.BlockDesc](block)
		if n -= int(d.NumPkts); n <= 0 {
			return memory, nil
		}
		if d.Status&tpacket.StatusBlkTmo != 0 {
			return nil, errBlockSplit
		}
	}
}

func (l *lab) inject(p packet) error {
	d := l.devices[p.dev.name]
	if p.outgoing {
		return d.Send(p.protocol, p.data)
	}
	return d.ReceiveOffloaded(kring.VnetHdr(p.vnet), p.data)
}

func writeGolden(t *testing.T, cases []goldenCase, recorded [][]byte) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packetsPath, []byte(packetsText()), 0o644); err != nil {
		t.Fatal(err)
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(uts.Release[:]), "-")
	for v, path := range goldenPath {
		var out strings.Builder
		fmt.Fprintf(&out, "# What Linux %s (%s) wrote into TPACKET_%s rings. See golden_test.go.\n"+
			"# Hexadecimal, little-endian; lines of zeros are left out; timestamps are zeroed.\n",
			release, unix.ByteSliceToString(uts.Machine[:]), v)
		for i, c := range cases {
			if c.version == v {
				fmt.Fprintf(&out, "\n%s", goldenEntry{c.asked(), recorded[i]})
			}
		}
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
