package file

import "io/fs"

// Error reports a fault of a capture file, or of the configuration that it was to be replayed
// with.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return "file " + e.Path + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// wrap returns an Error, which names the path once.
func (f *File) wrap(err error) error {
	if e, ok := err.(*fs.PathError); ok && e.Path == f.path {
		err = e.Err
	}
	return &Error{f.path, err}
}
