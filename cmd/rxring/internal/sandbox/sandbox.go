package sandbox

import "os"

// Config says what the program keeps when it is executed again.
type Config struct {
	AllFiles bool // it may do with the file system and TCP ports what its user may; what follows is unused

	// Files and directories, with all below them, that it may read, and directories in
	// which it may make unix sockets. Those that do not exist are left out.
	Read, MakeSockets []string

	// TCP ports that it may bind, 0 for any free one, and connect to.
	Bind, Connect []uint16

	User   *User    // to become; nil: it stays who it is
	Listen *os.File // a listening socket, handed over as systemd does (sd_listen_fds(3)); nil: none
	Path   string   // of that socket: State has it
}

// User is a user with its groups. The zero value is root.
type User struct {
	UID, GID int
	Groups   []int // supplementary ones
}

// State is what is in force.
type State struct {
	Landlock int    // the version of the kernel's Landlock (ABI) that is used; 0: none
	Path     string // of the socket that Enter handed over; "": none
}
