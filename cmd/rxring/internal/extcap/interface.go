package extcap

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/suggest"
)

// Interface is a device as Wireshark lists it.
type Interface struct {
	Name    string // rxring:DEVICE or rxring:NAMESPACE:DEVICE
	Display string // for people, beside Name
	Device  string
	Type    rxring.DeviceType
}

// prefix begins every interface's name.
const prefix = "rxring:"

// listTime bounds how long a namespace's owner may take to answer: Wireshark waits for the
// list before it opens its window.
const listTime = 2 * time.Second

// List returns the devices of all namespaces that are found, and of those at the sockets in
// others. errs has an error for each namespace whose devices are not known.
func List(ctx context.Context, others []string) (all []Interface, errs []error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	found := namespaces(others)
	lists := make([][]Interface, len(found))
	errs = make([]error, len(found))
	var wg sync.WaitGroup
	for i, ns := range found {
		wg.Go(func() { lists[i], errs[i] = ns.interfaces(ctx) })
	}
	wg.Wait()
	return slices.Concat(lists...), slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// interfaces returns the devices of a namespace.
func (ns namespace) interfaces(ctx context.Context) (all []Interface, err error) {
	if ns.fleet {
		return ns.fleetInterfaces(ctx)
	}
	c, err := attach.Dial(ctx, ns.path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for _, d := range c.Namespace().Devices() {
		all = append(all, Interface{
			Name:    ns.interfaceName(d.Name()),
			Display: "rxring at " + ns.at,
			Device:  d.Name(),
			Type:    d.Type(),
		})
	}
	return all, nil
}

// interfaceName returns the name of a device's interface: a device's name has no colon, and no
// slash unless it is HOST/DEVICE of a fleet.
func (ns namespace) interfaceName(device string) string {
	words := []string{device}
	if ns.fleet {
		i := strings.LastIndexByte(device, '/')
		words = []string{ns.name, device[:max(i, 0)], device[i+1:]}
	} else if ns.name != "" {
		words = []string{ns.name, device}
	}
	for i, w := range words {
		words[i] = escape(w)
	}
	return prefix + strings.Join(words, ":")
}

// escape escapes what has a meaning in names of interfaces, in Wireshark's sentences, in file
// names and on terminals.
func escape(s string) string { return strings.ReplaceAll(url.PathEscape(s), ":", "%3A") }

// find returns the namespace and the device of an interface. The device may not exist.
func find(name string, others []string) (ns namespace, device string, err error) {
	const want = "want rxring:DEVICE, rxring:NAMESPACE:DEVICE or rxring:FLEET:HOST:DEVICE, as tshark -D lists them"
	rest, ok := strings.CutPrefix(name, prefix)
	words := strings.Split(rest, ":")
	for i, w := range words {
		var err error
		if words[i], err = url.PathUnescape(w); err != nil {
			return ns, "", fmt.Errorf("interface %q: %s", name, want)
		}
	}
	last := len(words) - 1
	if device = words[last]; !ok || last > 2 || device == "" {
		return ns, "", fmt.Errorf("interface %q: %s", name, want)
	}
	inNamespace := ""
	if last > 0 {
		inNamespace = words[0]
	}
	if last == 2 {
		device = words[1] + "/" + device
	}
	all := namespaces(others)
	j := slices.IndexFunc(all, func(ns namespace) bool { return ns.name == inNamespace && ns.fleet == (last == 2) })
	if j < 0 {
		var names []string
		for _, ns := range all {
			names = append(names, cmp.Or(ns.name, "the one without a name"))
		}
		return ns, "", fmt.Errorf("interface %q: namespace %q is not found: %s", name, inNamespace, suggest.Among(inNamespace, names))
	}
	return all[j], device, nil
}

// open returns the interface of that name.
func open(ctx context.Context, name string, others []string) (Interface, error) {
	ns, device, err := find(name, others)
	if err != nil {
		return Interface{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	all, err := ns.interfaces(ctx)
	if err != nil {
		return Interface{}, err
	}
	var names []string
	for _, i := range all {
		if i.Device == device {
			return i, nil
		}
		names = append(names, i.Device)
	}
	return Interface{}, fmt.Errorf("%s: device %s: there is no such device: %s", ns.path, device, suggest.Among(device, names))
}
