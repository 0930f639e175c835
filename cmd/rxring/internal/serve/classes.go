package serve

import (
	"github.com/rxring/rxring"
	"github.com/rxring/rxring/fleet"
)

// LoadClasses reads the file of rxring ship --config: an [[allow]] for each class.
func LoadClasses(path string, res Resolver) ([]fleet.Class, error) {
	data, err := readConfig(path, "docs/fleet-access.md")
	if err != nil {
		return nil, ConfigError{err}
	}
	classes, err := ParseClasses(path, data, res)
	if err != nil {
		return nil, ConfigError{err}
	}
	return classes, nil
}

// ParseClasses parses the file's content. Its error is as that of Parse.
func ParseClasses(name string, data []byte, res Resolver) ([]fleet.Class, error) {
	doc, top, err := readDocument(name, data)
	if err != nil {
		return nil, err
	}
	var classes []fleet.Class
	seen := make(map[string]bool)
	for _, t := range top.tables("allow") {
		c := readClass(t, res)
		if c.Name != "" && seen[c.Name] {
			t.fault("class", "%q: there are two: want different names", c.Name)
		}
		seen[c.Name] = true
		classes = append(classes, c)
		t.done()
	}
	if !top.has("allow") {
		doc.fault("", "allow: it has no class: want [[allow]] with class = \"NAME\"")
	}
	top.done()
	return classes, doc.err()
}

func readClass(t *table, res Resolver) (c fleet.Class) {
	const want = "a name such as \"headers\", of letters, digits, '-' and '_'"
	name, ok := get[string](t, "class", want)
	switch {
	case ok && (fleet.Query{Class: name}).Check() != nil || ok && name == "":
		t.fault("class", "%q: want %s", name, want)
	case !ok && !t.has("class"):
		t.doc.fault(t.path, "allow: it names no class: want class = \"NAME\", which readers use as nats://...?class=NAME")
	}
	var r Rule
	r.readLimits(t, res)
	c.Name = name
	c.Grant.Filter, c.Grant.Snaplen = r.mandatory()
	c.Grant.NoPromiscuous = r.NoPromiscuous
	if r.Devices != nil {
		c.Grant.Devices = func(d *rxring.Device) bool { return r.shows(d.Name()) }
	}
	if r.MaxMemory > 0 {
		c.Grant.Budget = rxring.NewBudget(r.MaxMemory)
	}
	return c
}
