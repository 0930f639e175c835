package serve

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/rxring/rxring/internal/size"
	"github.com/rxring/rxring/internal/suggest"
)

// document is a TOML file with the lines of its values. It collects faults, to report all of
// them at once.
type document struct {
	name   string
	lines  map[string]int // by path, as allow[0].users[1]
	faults []fault
}

type fault struct {
	line int
	text string
}

// readDocument parses data. Its error names the line that is not TOML.
func readDocument(name string, data []byte) (*document, *table, error) {
	d := &document{name: name}
	values := make(map[string]any)
	if err := toml.Unmarshal(data, &values); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, nil, fmt.Errorf("%s:%d: column %d: %s", name, line, column, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	d.index(data)
	return d, &table{doc: d, values: values, known: make(map[string]bool)}, nil
}

// index finds the lines. Unmarshal has accepted data.
func (d *document) index(data []byte) {
	d.lines = make(map[string]int)
	counts := make(map[string]int) // tables of each array so far
	prefix := ""
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			prefix = ""
			for it := e.Key(); it.Next(); {
				part := it.Node()
				path := join(prefix, string(part.Data))
				if e.Kind == unstable.ArrayTable && it.IsLast() {
					counts[path]++
				}
				if n := counts[path]; n > 0 { // a table in the last element of an array
					path = fmt.Sprintf("%s[%d]", path, n-1)
				}
				d.note(&p, path, part)
				prefix = path
			}
		case unstable.KeyValue:
			d.indexValue(&p, prefix, e)
		}
	}
}

// indexValue finds the lines of a key and of the elements of its value.
func (d *document) indexValue(p *unstable.Parser, path string, kv *unstable.Node) {
	for it := kv.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		d.note(p, path, it.Node())
	}
	d.indexIn(p, path, kv.Value())
}

func (d *document) indexIn(p *unstable.Parser, path string, v *unstable.Node) {
	switch v.Kind {
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			item := fmt.Sprintf("%s[%d]", path, i)
			d.note(p, item, it.Node())
			d.indexIn(p, item, it.Node())
			i++
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.indexValue(p, path, it.Node())
			}
		}
	}
}

// note stores the line where a path first occurs.
func (d *document) note(p *unstable.Parser, path string, n *unstable.Node) {
	if _, ok := d.lines[path]; !ok && n.Raw.Length > 0 {
		d.lines[path] = p.Shape(n.Raw).Start.Line
	}
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// line returns the line of path, or of what contains it.
func (d *document) line(path string) int {
	for path != "" {
		if l, ok := d.lines[path]; ok {
			return l
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 1
}

// fault adds a fault of the value at path.
func (d *document) fault(path, format string, args ...any) {
	d.faults = append(d.faults, fault{d.line(path), fmt.Sprintf(format, args...)})
}

// err returns all faults, by line.
func (d *document) err() error {
	slices.SortStableFunc(d.faults, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, f := range d.faults {
		errs = append(errs, fmt.Errorf("%s:%d: %s", d.name, f.line, f.text))
	}
	return errors.Join(errs...)
}

// table is a TOML table. Its getters add faults to the document and return the zero value
// then, as for a missing key.
type table struct {
	doc    *document
	path   string // "": the file itself
	values map[string]any
	known  map[string]bool
}

// kind names the type of a value.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a fraction"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// get returns the value of a key; ok: it exists and is a T.
func get[T any](t *table, key, want string) (v T, ok bool) {
	t.known[key] = true
	raw, there := t.values[key]
	if !there {
		return v, false
	}
	if v, ok = raw.(T); !ok {
		t.fault(key, "it is %s: want %s", kind(raw), want)
	}
	return v, ok
}

// fault adds a fault of one of the table's keys.
func (t *table) fault(key, format string, args ...any) {
	t.doc.fault(join(t.path, key), "%s: %s", key, fmt.Sprintf(format, args...))
}

// given returns key if it exists, else "".
func (t *table) given(key string) string {
	if t.has(key) {
		return key
	}
	return ""
}

func (t *table) has(key string) bool {
	_, ok := t.values[key]
	return ok
}

// integer returns an integer from least to most.
func (t *table) integer(key string, least, most int64, want string) (int64, bool) {
	v, ok := get[int64](t, key, want)
	if ok && (v < least || v > most) {
		t.fault(key, "%d: want %s", v, want)
		return 0, false
	}
	return v, ok
}

// size returns a number of bytes, which the file gives as a string with a unit.
func (t *table) size(key string) int64 {
	text, ok := get[string](t, key, size.Want)
	if !ok {
		return 0
	}
	n, err := size.Parse(text)
	if err != nil {
		t.fault(key, "%v", err)
	}
	return n
}

// items returns the elements of an array, converted by read, whose error is the element's
// fault.
func items[T any](t *table, key, want string, read func(v any) (T, error)) (list []T) {
	array, ok := get[[]any](t, key, want)
	if ok && len(array) == 0 {
		t.fault(key, "it is empty: want %s", want)
	}
	for i, raw := range array {
		v, err := read(raw)
		if err != nil {
			t.doc.fault(fmt.Sprintf("%s[%d]", join(t.path, key), i), "%s: %v", key, err)
			continue
		}
		list = append(list, v)
	}
	return list
}

// table returns [key], nil if it is missing.
func (t *table) table(key string) *table {
	v, ok := get[map[string]any](t, key, "a table: ["+key+"]")
	if !ok {
		return nil
	}
	return t.child(key, v)
}

// tables returns all [[key]].
func (t *table) tables(key string) (list []*table) {
	array, ok := get[[]any](t, key, "a table for each: [["+key+"]]")
	if ok && len(array) == 0 {
		t.fault(key, "it is empty: want a table for each, [[%s]], or no such key", key)
	}
	for i, raw := range array {
		at := fmt.Sprintf("%s[%d]", key, i)
		if v, ok := raw.(map[string]any); ok {
			list = append(list, t.child(at, v))
		} else {
			t.doc.fault(join(t.path, at), "%s: it is %s: want a table for each: [[%s]]", key, kind(raw), key)
		}
	}
	return list
}

func (t *table) child(key string, v map[string]any) *table {
	return &table{doc: t.doc, path: join(t.path, key), values: v, known: make(map[string]bool)}
}

// done adds a fault for each key that was not read.
func (t *table) done() {
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if !t.known[key] {
			known := slices.Sorted(maps.Keys(t.known))
			t.fault(key, "unknown key: %swant %s", suggest.DidYouMean(key, known), strings.Join(known, ", "))
		}
	}
}

// quote returns s as a TOML string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
