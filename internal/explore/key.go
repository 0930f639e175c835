//go:build explore

package explore

import (
	"reflect"
	"unsafe"
)

// Key is a hash of a state, long enough that no two states share one.
type Key [2]uint64

// NewKey is the key of nothing.
func NewKey() Key { return Key{1, 2} }

// Put adds v to the key.
func (key *Key) Put(v uint64) { key[0], key[1] = Mix(key[0], v), Mix(key[1], v^0xdeadbeef) }

// PutBytes adds b, whose length is a multiple of 8.
func (key *Key) PutBytes(b []byte) {
	for i := 0; i < len(b); i += 8 {
		key.Put(*(*uint64)(unsafe.Pointer(&b[i])))
	}
}

// Cell is a private word or counter of what is explored.
type Cell struct {
	p    unsafe.Pointer
	size uintptr
}

// PutCells adds the values of cells.
func (key *Key) PutCells(cells []Cell) {
	for _, c := range cells {
		switch c.size {
		case 8:
			key.Put(*(*uint64)(c.p))
		case 4:
			key.Put(uint64(*(*uint32)(c.p)))
		default:
			key.Put(uint64(*(*uint8)(c.p)))
		}
	}
}

// Bit is 1 for true.
func Bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// Cells finds every integer, flag and word that the roots lead to.
func Cells(roots ...any) (cells []Cell) {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Uint64, reflect.Uint32, reflect.Uint8, reflect.Bool:
			cells = append(cells, Cell{unsafe.Pointer(v.UnsafeAddr()), v.Type().Size()})
		}
	}
	for _, r := range roots {
		walk(reflect.ValueOf(r))
	}
	return cells
}
