// Package ringmem allocates and maps the memory that a ring's writers and its
// reader share. All pages are allocated, and mapped by the writers, before packets are
// delivered: huge ones, where Linux has them.
package ringmem
