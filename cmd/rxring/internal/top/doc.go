// Package top shows what happens in a namespace that another process offers (package
// attach): its devices, who reads them, and each ring's slots. It is `rxring top`.
//
//	server → Status, a few times a second → History: rates → Report → screen: lines
//
// The one invariant: it only looks. A Status costs the other process a walk over its
// rings' status words, and the packets nothing.
//
// What comes from other processes, such as their names, is cleaned before a terminal
// gets it.
package top
