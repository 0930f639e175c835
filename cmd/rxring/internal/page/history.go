package page

import (
	"maps"
	"slices"
	"time"
)

const (
	historyTime = 5 * time.Minute
	historyLen  = int(historyTime / sampleInterval) // samples
	// maxCharts is how many sockets a sample has, so that many readers need no more memory:
	// further ones have no chart.
	maxCharts = 128
)

// samples returns the history of what the latest snapshot shows. It has nothing of other devices
// and sockets: a reload of the rules may hide them from the page.
func (o *overview) samples() []sample {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shown.Error != "" {
		return nil
	}
	shown := make(map[string]bool)
	for _, d := range o.shown.Devices {
		shown[d.Name], shown[d.Source] = true, true
	}
	for _, s := range o.shown.Sockets {
		shown[s.Device], shown[s.Key] = true, true
	}
	all := slices.Clone(o.history)
	for i := range all {
		all[i].Devices, all[i].Sockets = only(all[i].Devices, shown), only(all[i].Sockets, shown)
	}
	begin := float64(time.Now().Add(-historyTime).UnixMilli()) / 1e3
	return slices.DeleteFunc(all, func(s sample) bool { return s.Time < begin })
}

// only returns a copy with the keys that are shown.
func only[V any](m map[string]V, shown map[string]bool) map[string]V {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(key string, _ V) bool { return !shown[key] })
	return m
}
