//go:build !nolibpcap && (darwin || linux) && (amd64 || arm64)

package pcapfilter

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/ebitengine/purego"
)

// library has the functions of libpcap that this package calls. A pcap_t * is a uintptr.
type library struct {
	oneByOne bool // before 1.8 pcap_compile is not thread-safe

	openDead func(linktype, snaplen int32) uintptr
	compile  func(p uintptr, prog *program, expr string, optimize int32, netmask uint32) int32
	getErr   func(p uintptr) string
	freeCode func(prog *program)
	close    func(p uintptr)
	version  func() string
}

// program mirrors struct bpf_program (pcap/bpf.h). A struct bpf_insn has the layout of
// a struct sock_filter.
type program struct {
	length       uint32 // in instructions
	instructions *byte  // allocated by malloc
}

// names returns libpcap's file names: the usual one, Debian's, and that for compilers.
func names() []string {
	if runtime.GOOS == "darwin" {
		return []string{"libpcap.A.dylib", "libpcap.dylib"}
	}
	return []string{"libpcap.so.1", "libpcap.so.0.8", "libpcap.so"}
}

var (
	mu     sync.Mutex
	loaded *library // guarded by mu
)

// load loads libpcap from the first of names that exists, once per process.
func load(names []string) (*library, error) {
	mu.Lock()
	defer mu.Unlock()
	if loaded != nil {
		return loaded, nil
	}
	var errs []error
	for _, name := range names {
		handle, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l, err := bind(handle)
		if err != nil {
			purego.Dlclose(handle)
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		loaded = l // for good
		return l, nil
	}
	return nil, &missingError{errors.Join(errs...)}
}

func bind(handle uintptr) (*library, error) {
	l := &library{}
	for name, f := range map[string]any{
		"pcap_open_dead":   &l.openDead,
		"pcap_compile":     &l.compile,
		"pcap_geterr":      &l.getErr,
		"pcap_freecode":    &l.freeCode,
		"pcap_close":       &l.close,
		"pcap_lib_version": &l.version,
	} {
		sym, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, err
		}
		purego.RegisterFunc(f, sym)
	}
	var major, minor int
	fmt.Sscanf(l.version(), "libpcap version %d.%d", &major, &minor) // or 0.0
	l.oneByOne = major < 1 || major == 1 && minor < 8
	return l, nil
}
