package extcap

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/source/file/linktype"
)

// helpURL is what the button Help opens.
const helpURL = "https://github.com/rxring/rxring/blob/main/docs/wireshark.md"

// Controls of the toolbar.
const (
	controlDropped = iota
	controlLog
)

// PrintInterfaces answers --extcap-interfaces: it lists the interfaces and the controls of the
// toolbar.
func PrintInterfaces(w io.Writer, version string, all []Interface) error {
	var b strings.Builder
	fmt.Fprintf(&b, "extcap {version=%s}{display=rxring}{help=%s}\n", attribute(version), helpURL)
	for _, i := range all {
		fmt.Fprintf(&b, "interface {value=%s}{display=%s}\n", i.Name, attribute(i.Display))
	}
	fmt.Fprintf(&b, "control {number=%d}{type=string}{display=Dropped}{tooltip=Packets that were dropped, and why}\n", controlDropped)
	fmt.Fprintf(&b, "control {number=%d}{type=button}{role=logger}{display=Log}{tooltip=What happened during the capture}\n", controlLog)
	b.WriteString("control {number=2}{type=button}{role=help}{display=Help}{tooltip=Open rxring's page about Wireshark}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// attribute returns text as an attribute's value: braces end one.
func attribute(text string) string {
	return strings.NewReplacer("{", "(", "}", ")").Replace(printable.Text(text, '?'))
}

// PrintLinkTypes answers --extcap-dlts.
func PrintLinkTypes(ctx context.Context, w io.Writer, name string, others []string) error {
	i, err := open(ctx, name, others)
	if err != nil {
		return err
	}
	link, _ := linktype.OfDevice(i.Type)
	_, err = fmt.Fprintf(w, "dlt {number=%d}{name=DLT_%[1]d}{display=%v}\n", pcapfilter.DLT(int(link)), link)
	return err
}

// PrintConfig answers --extcap-config: it lists the flags of a capture that a user may set.
func PrintConfig(w io.Writer) error {
	_, err := fmt.Fprintf(w, `arg {number=0}{call=--snaplen}{display=Snapshot length (bytes)}{tooltip=Bytes of each packet to capture}{type=integer}{range=1,%d}{default=%[1]d}
arg {number=1}{call=--buffer}{display=Ring size (KiB)}{tooltip=Packets wait in the ring until Wireshark reads them}{type=integer}{range=1,%d}{default=%d}
arg {number=2}{call=--no-promiscuous-mode}{display=Only packets addressed to this device}{type=boolflag}{default=false}
`, maxSnaplen, maxBufferKiB, defaultBufferKiB)
	return err
}

// PrintFilterError checks a capture filter: it prints why the filter is invalid, and nothing
// otherwise. An error means that the filter could not be checked.
func PrintFilterError(ctx context.Context, w io.Writer, name string, others []string, filter string) error {
	i, err := open(ctx, name, others)
	if err != nil {
		return err
	}
	link, _ := linktype.OfDevice(i.Type)
	_, invalid := pcapfilter.Compile(filter, int(link), 0)
	if invalid == nil {
		return nil
	}
	why := strings.TrimPrefix(invalid.Error(), fmt.Sprintf("filter %q: ", filter)) // Wireshark shows the filter
	_, err = fmt.Fprintln(printable.Writer(w), strings.ReplaceAll(why, "\n", " "))
	return err
}
