package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/rxring/rxring/internal/suggest"
)

// Query says which devices of which hosts. Hosts and Devices are names or patterns as of
// [path.Match]; "": all.
type Query struct {
	Fleet   string // "": DefaultFleet
	Hosts   string
	Devices string
}

// Host is a host with the devices that a [Query] has found.
type Host struct {
	Name    string   `json:"name"`
	Devices []Device `json:"devices"`
}

const (
	quietTime    = 200 * time.Millisecond // without an answer ends the discovery of hosts, or four times that of the first answer
	discoverTime = 5 * time.Second        // bounds it
	askTime      = 2 * time.Second        // for a host to answer a request
	maxAsked     = 64                     // hosts that are asked at once
	maxHosts     = 100000                 // that a discovery finds
)

// Check returns an error that says what is wrong with q.
func (q Query) Check() error { return q.check() }

func (q *Query) check() error {
	q.Fleet, q.Hosts, q.Devices = orFleet(q.Fleet), cmp.Or(q.Hosts, "*"), cmp.Or(q.Devices, "*")
	for what, name := range map[string]string{"fleet": q.Fleet, "hosts": q.Hosts, "devices": q.Devices} {
		if err := checkName(what, name); err != nil {
			return err
		}
	}
	for what, pattern := range map[string]string{"hosts": q.Hosts, "devices": q.Devices} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%s %q: want a name, or a pattern such as web-* or h[1-3]", what, pattern)
		}
	}
	return nil
}

func isPattern(s string) bool { return strings.ContainsAny(s, `*?[\`) }

// matches reports whether name matches a pattern that was checked.
func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

// Discover returns the hosts that have devices, by name. Finding none is an error that says what
// there is.
func Discover(ctx context.Context, nc *nats.Conn, q Query) ([]Host, error) {
	found, names, err := discover(ctx, nc, &q)
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	if found == nil {
		return nil, fmt.Errorf("fleet: %w", q.nothing(names))
	}
	return found, nil
}

// nothing says why nothing was found among hosts.
func (q *Query) nothing(hosts []string) error {
	switch {
	case hosts == nil:
		return fmt.Errorf("no host of fleet %q ships devices: start `rxring ship --to URL` on one", q.Fleet)
	case !slices.ContainsFunc(hosts, func(h string) bool { return matches(q.Hosts, h) }):
		return fmt.Errorf("no host matches %q: %s", q.Hosts, suggest.Among(q.Hosts, hosts))
	}
	return fmt.Errorf("no device of hosts %q matches %q: `rxring devices --from nats://HUB` lists them", q.Hosts, q.Devices)
}

// discover returns the hosts that have devices, and the names of all that it knows of.
func discover(ctx context.Context, nc *nats.Conn, q *Query) (found []Host, names []string, err error) {
	if err := q.check(); err != nil {
		return nil, nil, err
	}
	if names, err = hostNames(ctx, nc, q.Fleet); err != nil {
		return nil, nil, err
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		free = make(chan struct{}, maxAsked)
	)
	for _, name := range names {
		if !matches(q.Hosts, name) {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			devices, err := list(ctx, nc, q.Fleet, name)
			if err != nil {
				return // it has ended meanwhile, or does not answer
			}
			devices = slices.DeleteFunc(devices, func(d Device) bool { return !matches(q.Devices, d.Name) })
			if len(devices) > 0 {
				mu.Lock()
				defer mu.Unlock()
				found = append(found, Host{name, devices})
			}
		})
	}
	wg.Wait()
	slices.SortFunc(found, func(a, b Host) int { return strings.Compare(a.Name, b.Name) })
	return found, names, ctx.Err()
}

// hostNames asks all hosts of a fleet for their names.
func hostNames(ctx context.Context, nc *nats.Conn, fleet string) (names []string, err error) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	subject, err := micro.ControlSubject(micro.InfoVerb, serviceName, "")
	if err != nil {
		return nil, err
	}
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTime)
	defer cancel()
	wait, begin := discoverTime, time.Now() // for the first answer
	for len(names) < maxHosts {
		quiet, cancel := context.WithTimeout(ctx, wait)
		m, err := sub.NextMsgWithContext(quiet)
		cancel()
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		var info micro.Info
		if json.Unmarshal(m.Data, &info) == nil && info.Metadata["fleet"] == fleet && checkName("host", info.Metadata["host"]) == nil {
			names = append(names, info.Metadata["host"])
		}
		if wait == discoverTime { // hosts and networks that are slow have more time
			wait = min(max(quietTime, 4*time.Since(begin)), discoverTime-1)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// list asks a host for its devices.
func list(ctx context.Context, nc *nats.Conn, fleet, host string) ([]Device, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, controlSubject(fleet, host, DefaultClass), []byte(`{"op":"list"}`))
	if err != nil {
		return nil, err
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return nil, err
	}
	if a.Error != nil {
		return nil, a.Error
	}
	return a.Devices, nil
}
