package feed

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rxring/rxring/internal/suggest"
)

// captureSuffixes are the suffixes of capture files.
var captureSuffixes = []string{".pcap", ".pcapng", ".cap"}

// meant returns a suggestion for a spec of an unknown kind, such as "did you mean ...? ", or
// "". word is the spec's kind and argument.
func meant(s Spec, word string) string {
	name := ""
	if s.name != "" {
		name = s.name + "="
	}
	escaped := strings.ReplaceAll(word, ",", ",,")
	if _, err := strconv.Atoi(word); err == nil {
		return fmt.Sprintf("did you mean %sstreams:%s? ", name, escaped)
	}
	if _, err := net.InterfaceByName(word); err == nil {
		return fmt.Sprintf("there is an interface of that name: did you mean %siface:%s? ", name, escaped)
	}
	if info, err := os.Stat(word); err == nil && info.Mode().IsRegular() {
		return fmt.Sprintf("there is a file of that name: did you mean %sfile:%s? ", name, escaped)
	} else if err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return fmt.Sprintf("there is a FIFO of that name: did you mean %spcap:%s? ", name, escaped)
	}
	if word == "-" {
		return fmt.Sprintf("did you mean %spcap:-? ", name)
	}
	plain := strings.TrimSuffix(strings.TrimSuffix(word, ".gz"), ".zst")
	if !s.hasArg && slices.Contains(captureSuffixes, filepath.Ext(plain)) {
		return fmt.Sprintf("did you mean %sfile:%s? ", name, escaped)
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	if kind, ok := suggest.Closest(s.kind, names); ok {
		s.kind = kind
		return fmt.Sprintf("did you mean %s? ", s)
	}
	return ""
}
