// Package progress draws a progress bar on a terminal.
package progress
