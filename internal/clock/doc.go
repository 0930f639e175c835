// Package clock reads CLOCK_REALTIME in a quarter of the time that time.Now takes: from the
// processor's counter (amd64's TSC, arm64's CNTVCT_EL0), if Linux derives its time from it, too: if its
// clock source is the counter, or kvm-clock with the counter available.
//
// The one invariant: a time is computed from an anchor, a reading of the system's clock that is at
// most 8 µs away by the counter. An error of the counter's rate therefore stays below 1 µs, even if
// the clock is slewed by the 10 % that adjtimex allows (NTP's 500 ppm make 4 ns), and a step is
// followed within 8 µs. A caller that finds no anchor so close reads the system's clock, and makes
// that the next anchor. No caller waits for another, and no goroutine runs while no packets arrive.
// Packets further apart than that cost a call of time.Now and two readings of the counter.
//
// time.Now is called for each reading on other systems and clock sources, and after the counter has
// disagreed with the system's clock several times, as counters of processors that are not synchronized
// do. RXRING_CLOCK in the environment selects: "system" time.Now, "counter" the counter if it is
// invariant, though Linux may have another clock source.
//
// Linux's vDSO has the same time without anchors. But the layout of its data is not part of the ABI,
// and its functions need more stack than a goroutine may have: only package runtime can switch stacks
// so that signals and profiles find theirs, and time.Now reads CLOCK_MONOTONIC, too.
package clock
