package rxring

import "slices"

// deviceTable holds a namespace's devices. Adding, removing and finding one takes the same time
// however many there are. Namespace.mu guards it.
type deviceTable struct {
	byIndex map[int]*Device
	byName  map[string]*Device
	ordered []*Device // by index; list drops those that were removed
}

func newDeviceTable() deviceTable {
	return deviceTable{byIndex: make(map[int]*Device), byName: make(map[string]*Device)}
}

// insert adds d, whose name and index are not taken.
func (t *deviceTable) insert(d *Device) {
	if len(t.ordered) > 2*len(t.byIndex)+64 {
		t.list() // most were removed
	}
	t.byIndex[d.index], t.byName[d.name] = d, d
	i, _ := slices.BinarySearchFunc(t.ordered, d.index, func(o *Device, index int) int { return o.index - index })
	t.ordered = slices.Insert(t.ordered, i, d)
}

// remove removes d, which is in the table.
func (t *deviceTable) remove(d *Device) {
	delete(t.byIndex, d.index)
	delete(t.byName, d.name)
}

func (t *deviceTable) has(d *Device) bool { return t.byIndex[d.index] == d }

// list returns the devices by index, until the table changes.
func (t *deviceTable) list() []*Device {
	if len(t.ordered) > len(t.byIndex) {
		t.ordered = slices.DeleteFunc(t.ordered, func(d *Device) bool { return !t.has(d) })
	}
	return t.ordered
}

// matching returns the device with that index, or all if it is 0, until the table changes.
func (t *deviceTable) matching(index int) []*Device {
	if index == 0 {
		return t.list()
	}
	if d, ok := t.byIndex[index]; ok {
		return []*Device{d}
	}
	return nil
}

// removeBoundLocked removes s from the sockets that are bound to d.
func (d *Device) removeBoundLocked(s *Socket) {
	if i := slices.Index(d.bound, s); i >= 0 {
		d.bound = slices.Delete(d.bound, i, i+1)
	}
}
