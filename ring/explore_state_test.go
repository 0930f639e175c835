//go:build explore

package ring

import (
	"reflect"
	"unsafe"
)

// privateState finds every integer, flag and word that the roots lead to.
func privateState(roots ...any) (cells []cell) {
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
	for _, r := range roots {
		walk(reflect.ValueOf(r))
	}
	return cells
}
