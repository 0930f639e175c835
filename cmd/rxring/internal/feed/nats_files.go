package feed

import (
	"net/url"
	"path/filepath"

	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
)

// FleetFiles returns the files with which the source authenticates to a fleet's server and checks
// it, of the URL or of the environment.
func (s Spec) FleetFiles() (paths []string) {
	p, ok := s.plan.(natsPlan)
	if !ok {
		return nil
	}
	a := dialer.NATSAccess(p.access)
	for _, path := range []string{a.Creds, a.NKey, a.CA} {
		if path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// WithAbsoluteFiles returns the spec with FleetFiles as absolute paths in its URL. It means the
// same in another directory and environment.
func (s Spec) WithAbsoluteFiles() (Spec, error) {
	p, ok := s.plan.(natsPlan)
	if !ok || s.FleetFiles() == nil {
		return s, nil
	}
	u, err := url.Parse(s.kind + ":" + s.arg)
	if err != nil {
		return s, err
	}
	a, options := dialer.NATSAccess(p.access), u.Query()
	for key, path := range map[string]string{"creds": a.Creds, "nkey": a.NKey, "ca": a.CA} {
		if path == "" {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return s, err
		}
		options.Set(key, path)
	}
	u.RawQuery = options.Encode()
	s.arg = u.String()[len(s.kind)+1:]
	return Parse(s.String())
}
