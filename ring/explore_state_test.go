//go:build explore

package ring

import (
	"reflect"
	"unsafe"
)

// privateState finds every integer, flag and word that the ring's design keeps.
func privateState(r *Ring) (cells []cell) {
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
			cells = append(cells, cell{unsafe.Pointer(v.UnsafeAddr()), v.Type().Size()})
		}
	}
	if r.other != nil {
		walk(reflect.ValueOf(&r.other))
	} else {
		walk(reflect.ValueOf(&r.ticket))
	}
	return cells
}
