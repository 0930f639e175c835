// Package top implements `rxring top`: it shows the devices of a namespace that another
// process offers (package attach), their readers, and the slots of each ring; or the devices of a
// fleet's hosts, and the sessions there.
//
//	server → Status, a few times a second → History: rates → Report → screen: lines
//
// The one invariant: top is read-only. A Status request makes the other process walk over
// the status words of its rings, and costs its packets nothing.
//
// Text of other processes, such as their names, is escaped before it is printed.
package top
