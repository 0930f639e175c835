// Package progress shows on a terminal how much of something is done.
package progress
