package attach_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// memfd is memory as a client makes it for its rings.
func memfd(t testing.TB, size int) int {
	t.Helper()
	fd, err := ringmem.NewMemfd(size)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// askWithFD is ask with a descriptor.
func askWithFD(t testing.TB, c *net.UnixConn, fd int, b []byte) (errno uint32, rest []byte, fds []int) {
	t.Helper()
	_, _, err := c.WriteMsgUnix(b, unix.UnixRights(fd), nil)
	must(t, err)
	errno, rest, fds, err = answer(t, c)
	must(t, err)
	return errno, rest, fds
}

// sealed wants nothing to be possible with a ring's memory, mapped at b, but to read and
// to store to what is mapped.
func sealed(t testing.TB, memory int, b []byte) {
	t.Helper()
	hole := func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(b)))
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", memory), os.O_RDWR, 0)
	must(t, err)
	defer again.Close()
	for what, err := range map[string]error{
		"shrink":          unix.Ftruncate(memory, 4096),
		"grow":            unix.Ftruncate(memory, int64(len(b))*2),
		"punch":           hole(memory),
		"punch, reopened": hole(int(again.Fd())),
		"MADV_REMOVE":     unix.Madvise(b, unix.MADV_REMOVE),
		"zero":            unix.Fallocate(memory, unix.FALLOC_FL_ZERO_RANGE, 0, int64(len(b))),
		"write":           func() error { _, err := unix.Pwrite(memory, []byte{1}, 0); return err }(),
		"seal": func() error {
			_, err := unix.FcntlInt(uintptr(memory), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
			return err
		}(),
		"map": func() error {
			_, err := unix.Mmap(memory, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		}(),
		"map, reopened": func() error {
			_, err := unix.Mmap(int(again.Fd()), 0, 4096, unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		}(),
	} {
		want := unix.EPERM
		if what == "zero" {
			want = unix.EOPNOTSUPP // tmpfs has none
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	var st unix.Stat_t
	must(t, unix.Fstat(memory, &st))
	if st.Blocks*512 < int64(len(b)) {
		t.Errorf("%d of %d bytes are allocated", st.Blocks*512, len(b))
	}
}

func TestRingMemoryIsTheReadersAndSealed(t *testing.T) {
	o := listen(t, attach.Config{})
	s := socket(t, o.dial(t), rxring.SockRaw)
	rd, m := setRing(t, s, slots)
	sealed(t, s.Memory(), m.Bytes())
	bind(t, s, 7)
	o.dev.Deliver(&rxring.Packet{Data: frame(1, 99)})
	if f, ok := rd.Next(); !ok || string(f.Data) != string(frame(1, 99)) {
		t.Errorf("the packet: %v", ok)
	}
}

// What came before the ring was mapped is in it afterwards, and counted once.
func TestPacketsThatComeBeforeTheRingIsMapped(t *testing.T) {
	for _, version := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
		o := listen(t, attach.Config{})
		s := socket(t, o.dial(t), rxring.SockRaw)
		must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, u32(uint32(version))))
		// There is no read before all packets are there: the timer takes a block every 20 ms.
		r := tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 14, BlockNr: 256, FrameSize: 2048, FrameNr: 2048}, RetireBlkTov: 20}
		must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&r)[:ringRequest(version)]))
		bind(t, s, 7)
		const early, late = 20, 30
		for i := range early {
			o.dev.Deliver(&rxring.Packet{Data: frame(i, 64+i)})
		}
		g, _ := s.Geometry()
		fd, err := s.Map(g.Size())
		must(t, err)
		m, err := ring.MapMemory(fd, g.Size())
		must(t, err)
		defer m.Close()
		rd, err := ring.NewReader(m, g, nil)
		must(t, err)
		for i := range early {
			o.dev.Deliver(&rxring.Packet{Data: frame(early+i, 64+i)})
		}
		if _, ok := rd.Next(); ok {
			t.Errorf("%v: a packet before the server knows that the ring is mapped", version)
		}
		must(t, s.Mapped())
		must(t, s.Mapped()) // which says nothing new
		for i := range late {
			o.dev.Deliver(&rxring.Packet{Data: frame(2*early+i, 64+i)})
		}
		for i := range 2*early + late {
			var f ring.Frame
			eventually(t, "the next packet", func() bool { return rd.Advance(&f) })
			if got := f.Data[len(f.Data)-1]; string(f.Data[:12]) != string(frame(i, 64)[:12]) {
				t.Fatalf("%v: packet %d is % x... %x", version, i, f.Data[:12], got)
			}
			f.Release()
		}
		if got := s.Totals(); got.Captured != 2*early+late || got.Offered() != 2*early+late {
			t.Errorf("%v: totals %+v", version, got)
		}
	}
}

func ringRequest(v tpacket.Version) int {
	if v == tpacket.V3 {
		return tpacket.SizeofReq3
	}
	return tpacket.SizeofReq
}

// A ring that is not mapped any more can be mapped again, with what is in it; one that
// is, cannot.
func TestRingIsMappedAgain(t *testing.T) {
	o := listen(t, attach.Config{})
	s := socket(t, o.dial(t), rxring.SockRaw)
	mapped := false
	s.SetMapped(func(int) bool { return mapped })
	_, m := setRing(t, s, slots)
	mapped = true
	bind(t, s, 7)
	o.dev.Deliver(&rxring.Packet{Data: frame(1, 99)})
	g, _ := s.Geometry()
	if _, err := s.Map(g.Size()); !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "unmap it first") {
		t.Errorf("mapped in two places: %v", err)
	}
	m.Close()
	mapped = false
	before := s.Memory()
	fd, err := s.Map(g.Size())
	must(t, err)
	if fd == before {
		t.Error("the memory is the same: it cannot be mapped any more")
	}
	if again, err := s.Map(g.Size()); again != fd || err != nil {
		t.Errorf("memory that is not mapped yet: %d, %v; want %d once more", again, err, fd)
	}
	m, err = ring.MapMemory(fd, g.Size())
	must(t, err)
	defer m.Close()
	must(t, s.Mapped())
	rd, err := ring.NewReader(m, g, nil)
	must(t, err)
	if f, ok := rd.Next(); !ok || string(f.Data) != string(frame(1, 99)) {
		t.Errorf("the packet that was in the ring: %v", ok)
	}
	// Another ring, before its reader said that it has mapped this one.
	m.Close()
	_, err = s.Map(g.Size())
	must(t, err)
	none, smaller := tpacket.Req{}, slots
	smaller.BlockNr, smaller.FrameNr = 2, 64
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&none)))
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&smaller)))
	must(t, s.Mapped()) // it knows that there is nothing to say
	if fd := s.Memory(); fd >= 0 {
		t.Errorf("descriptor %d of a ring that is gone", fd)
	}
}

// Memory that could have the writers wait, fault or pay is refused; what is wrong with it
// is its peer's loss, who may try again.
func TestRingMemoryThatIsRefused(t *testing.T) {
	const size = 1 << 18
	o := listen(t, attach.Config{})
	other := socket(t, o.dial(t), rxring.SockRaw)
	rd, _ := setRing(t, other, slots)
	bind(t, other, 7)

	made := func(fd int, err error) func(testing.TB) int {
		return func(t testing.TB) int {
			t.Helper()
			if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOMEM) {
				need.Skip(t, need.System, "no such memory: %v", err)
			}
			must(t, err)
			return fd
		}
	}
	sized := func(flags, size int) (int, error) {
		fd, err := unix.MemfdCreate("test", flags)
		if err == nil {
			err = unix.Ftruncate(fd, int64(size))
		}
		return fd, err
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	must(t, err)
	defer file.Close()
	must(t, file.Truncate(size))
	shm, err := os.CreateTemp("/dev/shm", "rxring")
	must(t, err)
	defer os.Remove(shm.Name())
	defer shm.Close()
	must(t, shm.Truncate(size))
	for _, tt := range []struct {
		name, want string
		fd         func(testing.TB) int
		mapped     bool // it is found out when its peer says that it is mapped
	}{
		{"a socket", "not a memfd", made(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)), false},
		{"a file", "not a memfd", made(int(file.Fd()), nil), false},
		{"a file of a tmpfs, which can be shrunk", "without F_SEAL_SEAL", made(int(shm.Fd()), nil), false},
		{"a memfd that was not made to be sealed", "without F_SEAL_SEAL", made(sized(0, size)), false},
		{"secret memory", "not a memfd", made(secret(size)), false},
		{"huge pages", "without huge pages", made(sized(unix.MFD_HUGETLB|unix.MFD_ALLOW_SEALING, 0)), false},
		{"one page less", "262144", made(ringmem.NewMemfd(size - 4096)), false},
		{"one page more", "262144", made(ringmem.NewMemfd(size + 4096)), false},
		{"to be read only", "mmap", func(t testing.TB) int {
			fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", memfd(t, size)), unix.O_RDONLY, 0)
			must(t, err)
			return fd
		}, false},
		{"nothing but a hole", "has holes: 0 bytes are allocated", made(sized(unix.MFD_ALLOW_SEALING, size)), true},
		{"a hole of a page", "has holes: 258048 bytes are allocated", func(t testing.TB) int {
			fd := memfd(t, size)
			must(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 8192, 4096))
			return fd
		}, true},
		{"a hole, and as many pages behind its end", "has holes: 0 bytes are allocated", func(t testing.TB) int {
			fd, err := sized(unix.MFD_ALLOW_SEALING, size)
			must(t, err)
			must(t, unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, size, size))
			return fd
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := greeted(t, o.Addr())
			ask(t, c, request(newSocket, 0, 1, 3, tpacket.ETHPAll))
			ask(t, c, request(setsockopt, 1, 2, tpacket.SolPacket, tpacket.OptVersion, 0, 1))
			ask(t, c, request(setsockopt, 1, 3, tpacket.SolPacket, tpacket.OptRxRing, 0, string(tpacket.Bytes(&slots))))
			if errno, _, _ := ask(t, c, request(mapped, 1, 4)); errno != uint32(unix.EINVAL) {
				t.Errorf("mapped before anything can be: %d", errno)
			}
			fd := tt.fd(t)
			errno, text, _ := askWithFD(t, c, fd, request(mapRing, 1, 5, size, 0))
			if tt.mapped {
				if errno != 0 {
					t.Fatalf("%d %s", errno, text)
				}
				errno, text, _ = ask(t, c, request(mapped, 1, 6))
			}
			if errno == 0 || !strings.Contains(string(text), tt.want) {
				t.Errorf("errno %d, %q; want %q", errno, text, tt.want)
			}
			o.dev.Deliver(&rxring.Packet{Data: frame(1, 64)})
			f, ok := rd.Next()
			if !ok {
				t.Fatal("another reader lost a packet")
			}
			f.Release()
			good := memfd(t, size)
			if errno, text, _ := askWithFD(t, c, good, request(mapRing, 1, 7, size, 0)); errno != 0 {
				t.Fatalf("lawful memory: %d %s", errno, text)
			}
			if errno, text, _ := ask(t, c, request(mapped, 1, 8)); errno != 0 {
				t.Errorf("lawful memory is mapped: %d %s", errno, text)
			}
		})
	}
}

// secret is memory of memfd_secret(2), which no kernel lets be sealed.
func secret(size int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_MEMFD_SECRET, 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), unix.Ftruncate(int(fd), int64(size))
}
