package attach

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/sockfile"
)

// PublishEnv is the environment variable that switches [Publish] on: "1". Unset, "" and "0"
// switch it off.
const PublishEnv = "RXRING_PUBLISH"

// Publish offers ns under a name, if the operator of the program has switched that on in its
// environment ([PublishEnv]). `rxring ps` lists the name, and `rxring run --at NAME` and the
// like read its devices. If it is off, Publish does nothing, so that a program can always call
// it:
//
//	p, err := attach.Publish(ns, "myvpn")
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//
// The namespace is offered as by [Listen] with a Config of nothing but ns: to this process's
// user and to root. The socket lies in the directory rxring, of mode 0700, in the user's
// runtime directory ($XDG_RUNTIME_DIR, for root /run). A name has 1 to 32 letters, digits, '-'
// and '_'; several processes may have the same. Close ends the offer.
func Publish(ns *rxring.Namespace, name string) (io.Closer, error) {
	switch v := os.Getenv(PublishEnv); v {
	case "", "0":
		return notPublished{}, nil
	case "1":
	default:
		return nil, explain.Errorf(syscall.EINVAL, "attach: publish %q: %s=%q: want 1 to publish, or 0", name, PublishEnv, v)
	}
	s, err := publish(ns, name)
	if err != nil {
		return nil, fmt.Errorf("attach: publish %q: %w", name, err)
	}
	return s, nil
}

// notPublished is what Publish returns while it is off.
type notPublished struct{}

func (notPublished) Close() error { return nil }

const maxPublishName = 32 // bytes

func isPublishName(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return name != "" && len(name) <= maxPublishName && strings.Trim(name, allowed) == ""
}

// publishDir returns the directory in which the user's processes publish.
func publishDir() (string, error) { return sockfile.UserDir("rxring") }
