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

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/suggest"
)

// Query says which devices of which hosts, and how they are read. Hosts and Devices are names or
// patterns as of [path.Match]; "": all.
type Query struct {
	Fleet   string // "": DefaultFleet
	Class   string // "": DefaultClass
	Hosts   string
	Devices string

	// Recorded selects devices of hosts that do not answer, too, if the server has recordings of them.
	Recorded bool
}

// Host is a host with the devices that a [Query] has found.
type Host struct {
	Name    string   `json:"name"`
	Devices []Device `json:"devices"`
	Err     error    `json:"-"` // why its devices are not known: it does not answer; nil: they are
}

const (
	quietTime    = 200 * time.Millisecond // without an answer ends the discovery of hosts, or four times that of the first answer
	discoverTime = 5 * time.Second        // bounds it
	askTime      = 2 * time.Second        // for a host to answer a request
	maxAsked     = 64                     // hosts that are asked at once
	maxHosts     = 100000                 // that a discovery finds
	maxDevices   = 4096                   // of a host
)

// Check returns an error that says what is wrong with q.
func (q Query) Check() error { return q.check() }

func (q *Query) check() error {
	q.Fleet, q.Class, q.Hosts, q.Devices = orFleet(q.Fleet), orClass(q.Class), cmp.Or(q.Hosts, "*"), cmp.Or(q.Devices, "*")
	for what, name := range map[string]string{"fleet": q.Fleet, "hosts": q.Hosts, "devices": q.Devices} {
		if err := checkName(what, name); err != nil {
			return err
		}
	}
	if err := checkClass(q.Class); err != nil {
		return err
	}
	for what, pattern := range map[string]string{"hosts": q.Hosts, "devices": q.Devices} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%s %q: want a name, or a pattern such as web-* or h[1-3]", what, pattern)
		}
	}
	return nil
}

func isPattern(s string) bool { return strings.ContainsAny(s, `*?[\`) }

// several reports whether q may find several hosts, now or later: then devices are named for them.
func (q *Query) several() bool { return q.Hosts == "" || isPattern(q.Hosts) }

// matches reports whether name matches a pattern that was checked.
func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

// Discover returns the hosts that have devices for q, by name, and those that do not answer, with
// Err. Finding no device is an error that says what there is. It is EACCES if NATS does not allow
// the requests.
func Discover(ctx context.Context, nc *nats.Conn, q Query) ([]Host, error) {
	f, err := discover(ctx, nc, &q)
	if err == nil && q.Recorded {
		f.found, err = addIndexed(ctx, nc, &q, f.found)
	}
	if err == nil && !slices.ContainsFunc(f.found, func(h Host) bool { return h.Devices != nil }) {
		err = f.nothing(&q)
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return f.found, nil
}

// discovery is what was found of a fleet.
type discovery struct {
	found []Host     // with devices, or an error
	hosts []hostInfo // all
	err   error      // why a host was not asked, if NATS does not allow it
}

// hostInfo is what every reader may know of a host.
type hostInfo struct {
	name    string
	classes []string
}

// nothing says why nothing was found.
func (f *discovery) nothing(q *Query) error {
	var names, classes []string
	matched, offered := false, false
	for _, h := range f.hosts {
		names = append(names, h.name)
		if matches(q.Hosts, h.name) {
			matched = true
			offered = offered || slices.Contains(h.classes, q.Class)
			classes = append(classes, h.classes...)
		}
	}
	slices.Sort(classes)
	switch {
	case f.err != nil:
		return f.err
	case names == nil:
		return fmt.Errorf("no host of fleet %q ships devices: start `rxring ship --to URL` on one", q.Fleet)
	case !matched:
		return fmt.Errorf("no host matches %q: %s", q.Hosts, suggest.Among(q.Hosts, names))
	case !offered:
		return explain.Errorf(ErrDenied, "class %q: hosts %q do not have it: %s", q.Class, q.Hosts, suggest.Among(q.Class, slices.Compact(classes)))
	}
	if err := errors.Join(errs(f.found)...); err != nil {
		return err
	}
	return fmt.Errorf("no device of hosts %q matches %q: `rxring devices --from nats://HUB` lists them", q.Hosts, q.Devices)
}

// denied returns an error if the last thing that the server did not allow nc is one of subjects.
func denied(nc *nats.Conn, q *Query, subjects ...string) error {
	if s := refusedSubject(nc, subjects...); s != "" {
		return explain.Errorf(ErrDenied, "class %q: the NATS server does not allow this user %s: ask who runs it, or want another class", q.Class, s)
	}
	return nil
}

// refusedSubject returns the one of subjects that the server did not allow last; "": none of them.
func refusedSubject(nc *nats.Conn, subjects ...string) string {
	err := nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return ""
	}
	for _, s := range subjects {
		if strings.Contains(err.Error(), `"`+s+`"`) {
			return s
		}
	}
	return ""
}

// discover asks the hosts for the devices that q selects, after check.
func discover(ctx context.Context, nc *nats.Conn, q *Query) (*discovery, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	f := new(discovery)
	var err error
	if f.hosts, err = findHosts(ctx, nc, q); err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		free = make(chan struct{}, maxAsked)
	)
	allowed := false
	for _, h := range f.hosts {
		if !matches(q.Hosts, h.name) || !slices.Contains(h.classes, q.Class) {
			continue
		}
		if !allowed { // one that is not would be asked until askTime is over
			if err := allows(ctx, nc, q, h.name); err != nil {
				f.err = err
				continue
			}
			allowed = true
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			a, err := ask(ctx, nc, controlSubject(q.Fleet, h.name, q.Class), request{Op: opList})
			if errors.Is(err, nats.ErrNoResponders) || ctx.Err() != nil {
				return // it has ended meanwhile
			}
			host := Host{Name: h.name}
			if err != nil {
				host.Err = fmt.Errorf("host %s: its devices are not known, and missing: %w", h.name, err)
			} else if host.Devices = selected(a.Devices, q); len(host.Devices) == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			f.found = append(f.found, host)
		})
	}
	wg.Wait()
	slices.SortFunc(f.found, func(a, b Host) int { return strings.Compare(a.Name, b.Name) })
	return f, ctx.Err()
}

// selected returns the devices that q selects. A server ends the connection of a reader that uses a
// subject with a longer name.
func selected(devices []Device, q *Query) []Device {
	all := slices.DeleteFunc(devices, func(d Device) bool { return checkName("device", d.Name) != nil || !matches(q.Devices, d.Name) })
	return all[:min(len(all), maxDevices)]
}

// allows returns an error if the server does not allow requests to a host.
func allows(ctx context.Context, nc *nats.Conn, q *Query, host string) error {
	subject := controlSubject(q.Fleet, host, q.Class)
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if err := errors.Join(nc.Publish(subject, []byte(listRequest)), nc.FlushWithContext(ctx)); err != nil {
		return err
	}
	return denied(nc, q, subject)
}

// findHosts asks all hosts of a fleet what they have.
func findHosts(ctx context.Context, nc *nats.Conn, q *Query) (hosts []hostInfo, err error) {
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
	if err := nc.FlushWithContext(ctx); err != nil {
		return nil, err
	}
	if err := denied(nc, q, subject, inbox); err != nil {
		return nil, err
	}
	named := !q.several()
	wait, begin := discoverTime, time.Now() // for the first answer, or for that of the one host
	for len(hosts) < maxHosts {
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
		if json.Unmarshal(m.Data, &info) == nil && info.Metadata["fleet"] == q.Fleet && checkName("host", info.Metadata["host"]) == nil {
			hosts = append(hosts, hostInfo{info.Metadata["host"], strings.Split(info.Metadata["classes"], ",")})
		}
		if named && len(hosts) > 0 && hosts[len(hosts)-1].name == q.Hosts {
			break
		}
		if !named && wait == discoverTime { // hosts and networks that are slow have more time
			wait = min(max(quietTime, 4*time.Since(begin)), discoverTime-1)
		}
	}
	slices.SortFunc(hosts, func(a, b hostInfo) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(hosts, func(a, b hostInfo) bool { return a.name == b.name }), nil
}

// errs returns why hosts' devices are not known.
func errs(hosts []Host) (all []error) {
	for _, h := range hosts {
		if h.Err != nil {
			all = append(all, h.Err)
		}
	}
	return all
}
