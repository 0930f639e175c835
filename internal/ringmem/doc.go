// Package ringmem allocates and maps the memory that a ring's writers and its
// reader share.
package ringmem
