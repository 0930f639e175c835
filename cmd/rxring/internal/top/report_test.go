package top

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/ring"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// status is one of a device and sockets, so many seconds after noon.
func status(after float64, drops uint64, sockets ...attach.SocketStatus) attach.Status {
	return attach.Status{
		Time:    noon.Add(time.Duration(after * float64(time.Second))),
		Devices: []attach.DeviceStatus{{Index: 2, Name: "net0", Description: attach.Description{Counters: map[string]uint64{"kernel_drops": drops}}}},
		Sockets: sockets,
	}
}

// counted is socket 1 of a peer, opened so many seconds after noon, with a captured
// packet for each offered one but those dropped.
func counted(peer uint64, opened float64, offered, dropped uint64) attach.SocketStatus {
	return attach.SocketStatus{
		ID: 1, Peer: attach.Peer{ID: peer}, Opened: noon.Add(time.Duration(opened * float64(time.Second))), Device: "net0",
		Offered: offered, Captured: offered - dropped, Dropped: ring.Drops{ring.Full: dropped},
	}
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		name        string
		before, now attach.Status
		want        []*Rates // by socket
		drops       any      // the device's rate, nil: none
	}{
		{
			"are a second's",
			status(0, 10, counted(1, -9, 1000, 100)), status(2, 16, counted(1, -9, 3000, 300)),
			[]*Rates{{Offered: 1000, Captured: 900, Dropped: ring.PerReason[float64]{ring.Full: 100}}}, 3.0,
		},
		{
			"of what stands still are 0",
			status(0, 10, counted(1, -9, 1000, 100)), status(1, 10, counted(1, -9, 1000, 100)),
			[]*Rates{{}}, 0.0,
		},
		{
			"of a count that began anew are what it has since",
			status(0, 1000), status(2, 8), nil, 4.0,
		},
		{
			"of a socket that was opened meanwhile are all it has",
			status(0, 0), status(1, 0, counted(3, 0.5, 70, 0)),
			[]*Rates{{Offered: 70, Captured: 70}}, 0.0,
		},
		{
			"of a socket that was there but not seen are not known",
			status(0, 0), status(1, 0, counted(3, -5, 1e9, 0)),
			[]*Rates{nil}, 0.0,
		},
		{
			"of others go on when a socket vanishes",
			status(0, 0, counted(1, -9, 5, 0), counted(2, -9, 50, 0)), status(1, 0, counted(2, -9, 60, 0)),
			[]*Rates{{Offered: 10, Captured: 10}}, 0.0,
		},
		{
			"are not those of a server before it, which had the same numbers",
			status(0, 500, counted(1, -9, 1_000_000, 0)), status(10, 0, counted(1, 8, 2000, 0)),
			[]*Rates{{Offered: 200, Captured: 200}}, 0.0,
		},
		{
			"are not known at first",
			attach.Status{}, status(0, 7, counted(1, -9, 5, 0)),
			[]*Rates{nil}, nil,
		},
		{
			"are not known when the clock was set back",
			status(5, 7, counted(1, -9, 5, 0)), status(0, 9, counted(1, -9, 9, 0)),
			[]*Rates{nil}, nil,
		},
		{
			"are not known when no time has passed",
			status(5, 7, counted(1, -9, 5, 0)), status(5, 9, counted(1, -9, 9, 0)),
			[]*Rates{nil}, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Compare(c.before, c.now)
			if len(r.Sockets) != len(c.want) {
				t.Fatalf("%d sockets, want %d", len(r.Sockets), len(c.want))
			}
			for i, want := range c.want {
				if got := r.Sockets[i].Rates; !reflect.DeepEqual(got, want) {
					t.Errorf("socket %d: rates %+v, want %+v", i, got, want)
				}
			}
			got, ok := r.Devices[0].Rates["kernel_drops"]
			if ok != (c.drops != nil) || ok && got != c.drops {
				t.Errorf("kernel_drops: %v/s, %v; want %v", got, ok, c.drops)
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRatesOfAnotherDeviceOfThatNumberAreNotKnown(t *testing.T) {
	before, now := status(0, 7), status(1, 9)
	now.Devices[0].Name = "wg0"
	if r := Compare(before, now); r.Devices[0].Rates != nil {
		t.Errorf("rates %v of wg0, which was net0", r.Devices[0].Rates)
	}
}

func TestHistoryRatesAreOverItsWindow(t *testing.T) {
	offered := func(r *Report) any {
		if r.Sockets[0].Rates == nil {
			return nil
		}
		return r.Sockets[0].Rates.Offered
	}
	h := History{Window: time.Second}
	for i, want := range []any{nil, 400.0, 400.0, 400.0, 400.0, 300.0, 200.0} {
		// A hundred packets every quarter of a second, until the first second is over.
		n := uint64(100 * min(i, 4))
		r := h.Next(status(float64(i)/4, 0, counted(1, -9, n, 0)))
		if got := offered(r); got != want {
			t.Errorf("after %d looks: %v, want %v", i, got, want)
		}
	}
	if r := h.Next(status(-100, 0, counted(1, -9, 1, 0))); offered(r) != nil {
		t.Errorf("after the clock was set back: %v", offered(r))
	}
	if r := h.Next(status(-99, 0, counted(1, -9, 8, 0))); offered(r) != 7.0 {
		t.Errorf("a second after that: %v, want 7", offered(r))
	}
	if len(h.past) > 6 {
		t.Errorf("it keeps %d statuses", len(h.past))
	}

	each := History{}
	for i, want := range []any{nil, 400.0, 800.0} {
		r := each.Next(status(float64(i)/4, 0, counted(1, -9, []uint64{0, 100, 300}[i], 0)))
		if got := offered(r); got != want {
			t.Errorf("from one to the next, look %d: %v, want %v", i, got, want)
		}
	}
}

func TestReportIsAStatusWithMore(t *testing.T) {
	now := status(1, 3, counted(1, -9, 20, 10))
	r := Compare(status(0, 3, counted(1, -9, 10, 5)), now)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got attach.Status
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, now) {
		t.Errorf("%v: as a Status it is\n%+v\nwant\n%+v", err, got, now)
	}
	var all struct {
		Interval float64
		Sockets  []struct {
			Rates struct{ Dropped map[string]float64 }
		}
	}
	if err := json.Unmarshal(b, &all); err != nil || all.Interval != 1 || all.Sockets[0].Rates.Dropped["ring_full"] != 5 {
		t.Errorf("%v: %s", err, b)
	}
}
