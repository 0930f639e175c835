package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/size"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

const wantKeep = "want NAME=FILTER[,snaplen=N][,size=SIZE][,age=TIME][,class=NAME], for instance control=tcp port 179,size=2GiB,age=24h"

// keepOptions are those of --keep.
var keepOptions = []string{"age", "class", "size", "snaplen"}

// parseKeep parses a value of --keep. A comma in the filter is doubled; an empty filter accepts
// everything.
func parseKeep(text string) (fleet.Recording, error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return fleet.Recording{}, errors.New(wantKeep)
	}
	words := feed.Split(rest)
	r := fleet.Recording{Name: name, Filter: strings.TrimSpace(words[0])}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "snaplen":
			if r.Snaplen, err = strconv.Atoi(value); err != nil || r.Snaplen < 1 {
				return r, fmt.Errorf("snaplen=%s: want a number of bytes, 1 or more", value)
			}
		case "size":
			if r.Size, err = size.Parse(value); err != nil {
				return r, fmt.Errorf("size=%s: want %s", value, size.Want)
			}
		case "age":
			if r.Age, err = time.ParseDuration(value); err != nil || r.Age <= 0 {
				return r, fmt.Errorf("age=%s: want a time such as 24h or 30m", value)
			}
		case "class":
			if value == "" {
				return r, errors.New("class=: want the name of a class")
			}
			r.Class = value
		default:
			return r, fmt.Errorf("option %q: %swant %s; double a comma that belongs to the filter", key, suggest.DidYouMean(key, keepOptions), strings.Join(keepOptions, ", "))
		}
	}
	return r, compileKeep(&r)
}

// parseKeep parses all values of --keep.
func (f *shipFlags) parseKeep() error {
	for _, text := range f.keep {
		r, err := parseKeep(text)
		if err != nil {
			return fmt.Errorf("--keep %q: %w", text, err)
		}
		f.cfg.Recordings = append(f.cfg.Recordings, r)
	}
	return nil
}

// compileKeep sets Program, and checks the filter for Ethernet or, as for "ip6 host ::1" without a
// link layer, raw IP.
func compileKeep(r *fleet.Recording) error {
	if r.Filter == "" {
		return nil
	}
	if pcapfilter.Tags(r.Filter) {
		return fmt.Errorf("filter %q: VLAN tags are in the packet's metadata here, which such a program does not read: want one without vlan", r.Filter)
	}
	if _, err := pcapfilter.Compile(r.Filter, int(capfile.LinkEthernet), 0); err != nil {
		if _, raw := pcapfilter.Compile(r.Filter, int(capfile.LinkRaw), 0); raw != nil {
			return err
		}
	}
	filter := r.Filter
	r.Program = func(d *rxring.Device) ([]cbpf.Instruction, error) {
		link, _ := linktype.OfDevice(d.Type())
		return pcapfilter.Compile(filter, int(link), 0)
	}
	return nil
}
