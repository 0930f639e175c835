// Package proc finds the child processes of a process, and reads files of /proc.
//
// It imports little, so that the launcher of package interpose begins early.
package proc
