// Package modules tests what users of the released modules get: what each module
// requires, builds with, and leaves alone in the go.mod of the module that requires it.
package modules
