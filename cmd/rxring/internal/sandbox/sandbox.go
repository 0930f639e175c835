package sandbox

import "os"

// Config is what the program keeps when Enter executes it again.
type Config struct {
	AllFiles bool // do not restrict files and TCP ports: the next four fields are unused

	// Files and directories, with all below them, that it may read, and directories in
	// which it may make unix sockets. Missing ones are ignored.
	Read, MakeSockets []string

	// TCP ports that it may bind, 0 for any free one, and connect to.
	Bind, Connect []uint16

	User   *User    // to become; nil: no change
	Listen *os.File // a listening socket to pass as systemd does (sd_listen_fds(3)); nil: none
	Path   string   // of that socket, for State
}

// User is a user and its groups. The zero value is root.
type User struct {
	UID, GID int
	Groups   []int // supplementary ones
}

// State is the part of the sandbox that is active.
type State struct {
	Landlock int    // the Landlock ABI version in use; 0: none
	Path     string // of the socket that Enter passed; "": none
}
