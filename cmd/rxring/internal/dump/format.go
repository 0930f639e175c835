package dump

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/rxring/rxring/source/file/capfile"
)

// format is how files are written. Their names' extensions select it, as .pcap.gz does.
type format struct {
	pcap     bool                                          // pcap; pcapng otherwise
	compress func(w io.Writer) (capfile.Compressor, error) // nil: not compressed
}

// compressors are the compressions by extension.
var compressors = map[string]func(io.Writer) (capfile.Compressor, error){
	".gz":  capfile.NewGzip,
	".zst": capfile.NewZstd,
}

// checkCompression refuses the names of compressions that are not here: the file would not be
// what its name says.
func checkCompression(file string) error {
	switch extension := filepath.Ext(file); strings.ToLower(extension) {
	case ".xz", ".bz2", ".lz4", ".lzma", ".br", ".z", ".zip":
		return fmt.Errorf("-w %s: cannot compress to %s: want .gz, .zst, or no compression", file, extension)
	}
	return nil
}

func formatOf(file string) (f format) {
	base, extension := splitCompression(file)
	f.compress = compressors[extension]
	f.pcap = strings.HasSuffix(strings.ToLower(base), ".pcap")
	return f
}

// splitCompression splits a name before the extension of a compression, if it has one.
func splitCompression(name string) (base, extension string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 && compressors[name[i:]] != nil {
		return name[:i], name[i:]
	}
	return name, ""
}

// encoder writes packets of interfaces in a file format. A [capfile.Writer] is one.
type encoder interface {
	AddInterface(capfile.Interface) (id int, err error)
	WriteCommented(id int, ts int64, origLen int, data []byte, d capfile.Direction, comment string) error
	WriteStats(id int, s capfile.Stats) error
	Flush() error
}

// newEncoder begins a file on w.
func (f format) newEncoder(w io.Writer, s capfile.Section) (encoder, error) {
	if f.pcap {
		return pcapEncoder{capfile.NewPcapWriter(w)}, nil
	}
	return capfile.NewWriter(w, s)
}

// pcapEncoder writes pcap, which has no statistics and no comments.
type pcapEncoder struct{ *capfile.PcapWriter }

func (e pcapEncoder) WriteCommented(id int, ts int64, origLen int, data []byte, d capfile.Direction, _ string) error {
	return e.WritePacket(id, ts, origLen, data, d)
}

func (pcapEncoder) WriteStats(int, capfile.Stats) error { return nil }
