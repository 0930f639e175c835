package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/suggest"
)

// Spec is a value of --from: [NAME=]KIND[:ARGUMENT][,OPTION[=VALUE]]… A comma in an
// argument is doubled.
type Spec struct {
	name   string // as given; "": the kind's own
	kind   string
	arg    string
	hasArg bool
	opts   []option

	plan plan
}

type option struct {
	key, value string
	hasValue   bool
}

// plan is a spec parsed by its kind.
type plan interface {
	// inspect reads the file or opens the stream, if any, and may block until ctx ends. The
	// opener may be called several times. discard closes the stream.
	inspect(ctx context.Context) (open opener, discard func(), err error)
}

// opener adds the devices. It does not block.
type opener func(Config) (*Feed, error)

type kind struct {
	name  string
	form  string // for messages; "": not in them
	parse func(*Spec) (plan, error)
}

// kinds are all kinds, in the order of messages.
var kinds = []kind{
	{"streams", "streams:N", parseStreams},
	{"iface", "iface:NAME", parseIface},
	{"file", "file:PATH", parseFile},
	{"pcap", "pcap:FIFO", parsePipe},
	{"exec", "exec:COMMAND", parseExec},
	{"nats", "nats://SERVER", parseNATS},
	{"tls", "", parseNATS}, // nats with TLS
}

// Forms lists what Parse accepts, for messages.
func Forms() string {
	var forms []string
	for _, k := range kinds {
		if k.form != "" {
			forms = append(forms, k.form)
		}
	}
	return suggest.Or(forms)
}

// Parse parses a spec. Its error names the word that is wrong, and what is allowed.
func Parse(text string) (Spec, error) {
	s, err := parse(text)
	if err != nil {
		return Spec{}, fmt.Errorf("%q: %w", text, err)
	}
	return s, nil
}

func parse(text string) (s Spec, err error) {
	rest := text
	// A device's name holds no ':', an option's no '=' before the first ','.
	if i := strings.IndexAny(text, "=:,"); i >= 0 && text[i] == '=' {
		if i == 0 {
			return s, fmt.Errorf("no name before '=': want NAME=%s", kinds[0].form)
		}
		s.name, rest = text[:i], text[i+1:]
		if err := checkName(s.name); err != nil {
			return s, err
		}
	}
	words := Split(rest)
	s.kind, s.arg, s.hasArg = strings.Cut(words[0], ":")
	for _, w := range words[1:] {
		var o option
		o.key, o.value, o.hasValue = strings.Cut(w, "=")
		if slices.ContainsFunc(s.opts, func(b option) bool { return b.key == o.key }) {
			return s, fmt.Errorf("option %q: want it once", o.key)
		}
		s.opts = append(s.opts, o)
	}
	for _, k := range kinds {
		if k.name == s.kind {
			s.plan, err = k.parse(&s)
			return s, err
		}
	}
	return s, fmt.Errorf("%swant %s", meant(s, words[0]), Forms())
}

// checkName returns the error of a namespace for a device's name.
func checkName(name string) error {
	_, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: name})
	return err
}

// Split splits text at commas. A doubled comma stands for one, and does not split.
func Split(text string) []string {
	words := []string{""}
	for i := 0; i < len(text); i++ {
		last := &words[len(words)-1]
		switch {
		case text[i] != ',':
			*last += text[i : i+1]
		case i+1 < len(text) && text[i+1] == ',':
			*last += ","
			i++
		default:
			words = append(words, "")
		}
	}
	return words
}

// String returns text that Parse parses to the same spec. Equal specs have equal text.
func (s Spec) String() string {
	var b strings.Builder
	if s.name != "" {
		b.WriteString(s.name + "=")
	}
	b.WriteString(s.kind)
	if s.hasArg {
		b.WriteString(":" + strings.ReplaceAll(s.arg, ",", ",,"))
	}
	for _, o := range s.opts {
		b.WriteString("," + strings.ReplaceAll(o.key, ",", ",,"))
		if o.hasValue {
			b.WriteString("=" + strings.ReplaceAll(o.value, ",", ",,"))
		}
	}
	return b.String()
}

// WithoutName returns String without the device's name.
func (s Spec) WithoutName() string {
	s.name = ""
	return s.String()
}

// WithName returns the spec with another name for the device, if name is not empty.
func (s Spec) WithName(name string) Spec {
	if name != "" {
		s.name = name
	}
	return s
}

// File returns the path of a capture file or a FIFO; ok is false for other sources.
func (s Spec) File() (path string, ok bool) {
	switch p := s.plan.(type) {
	case filePlan:
		return p.path, true
	case pipePlan:
		fifo, ok := p.from.(fifoOpener)
		return string(fifo), ok
	}
	return "", false
}

// Stdin reports whether the source is standard input.
func (s Spec) Stdin() bool {
	p, ok := s.plan.(pipePlan)
	if !ok {
		return false
	}
	_, ok = p.from.(stdinOpener)
	return ok
}

// Command reports whether the source is a command that is run.
func (s Spec) Command() bool {
	p, ok := s.plan.(pipePlan)
	if !ok {
		return false
	}
	_, ok = p.from.(commandOpener)
	return ok
}

// TCP returns the address that the source connects to; ok is false for other sources.
func (s Spec) TCP() (address string, ok bool) {
	p, _ := s.plan.(pipePlan)
	n, ok := p.from.(netOpener)
	return n.address, ok && n.network == "tcp"
}

// FleetServer returns HOST:PORT of the NATS server from which the source reads a fleet's devices;
// ok is false for other sources.
func (s Spec) FleetServer() (address string, ok bool) {
	p, ok := s.plan.(natsPlan)
	if !ok {
		return "", false
	}
	return p.address(), true
}

// Stream reports whether the source is a stream, whose writer Inspect waits for.
func (s Spec) Stream() bool {
	_, ok := s.plan.(pipePlan)
	return ok
}

// Name returns the device's name if the spec has one.
func (s Spec) Name() string { return s.name }

// want refuses options that are not in known, which says of each whether it has a value.
func (s *Spec) want(known map[string]bool) error {
	for _, o := range s.opts {
		hasValue, ok := known[o.key]
		switch {
		case !ok && len(known) == 0:
			return fmt.Errorf("option %q: %s has none", o.key, s.kind)
		case !ok:
			names := slices.Sorted(maps.Keys(known))
			return fmt.Errorf("option %q: %swant %s; double a comma that belongs to the argument", o.key, suggest.DidYouMean(o.key, names), strings.Join(names, ", "))
		case hasValue && o.value == "" && o.key != "loop":
			return fmt.Errorf("option %q: want a value: %[1]s=VALUE", o.key)
		case o.hasValue && !hasValue:
			return fmt.Errorf("option %q: it has no value: want %[1]s alone", o.key)
		}
	}
	return nil
}

// option returns the value of an option.
func (s *Spec) option(key string) (value string, ok bool) {
	for _, o := range s.opts {
		if o.key == key {
			return o.value, true
		}
	}
	return "", false
}

// number returns the value, from least to most, of an option; 0 if it is not given.
func (s *Spec) number(key string, least, most int) (int, error) {
	value, ok := s.option(key)
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s=%s: want a number from %d to %d", key, value, least, most)
	}
	return n, nil
}
