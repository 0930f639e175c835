// Package fairshare divides the time of a device's writers among the accounts of users.
//
// The writers' time is divided in windows of 20 ms. [Meter] samples what packets cost, [Share]
// accumulates it for one account and device, and [Pool] computes, at the end of a window, the
// level that each share may use in the next. A writer never waits: a share over its level is
// skipped, and its packets are dropped.
package fairshare
