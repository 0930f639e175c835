// Package sockfile makes the files of listening unix sockets, and changes their modes and
// owners, where other users may try to put something else in their place.
//
// The one invariant: what is changed is the socket that was made, never what a path names
// by then. A socket is made in a private directory, opened by O_PATH, changed through that
// descriptor, and moved to its path last.
package sockfile
