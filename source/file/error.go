package file

import "io/fs"

// Error is what is wrong with a capture file, or with how it was to be replayed.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return "file " + e.Path + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// wrap makes an Error, which names the path once.
func (f *File) wrap(err error) error {
	if e, ok := err.(*fs.PathError); ok && e.Path == f.path {
		err = e.Err
	}
	return &Error{f.path, err}
}
