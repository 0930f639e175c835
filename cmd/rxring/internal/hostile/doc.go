// Package hostile has tests only: what does a hostile reader of `rxring serve` cost the
// other readers?
//
// A run has a daemon of its own (the rxring of this tree, default limits) on one end of a
// veth pair, and these others, each a process of its own:
//
//   - the sender sends 20,000 packets a second into the pair's other end. Each carries its
//     number, the phase of the run and the time of sending;
//   - the victim, another user, reads them in order;
//   - the newcomer, the victim's user, too, attaches, opens a ring, binds, and closes, again
//     and again;
//   - the attacker, a third user, runs an attack.
//
// A run has two phases that last equally long, the same but for the attacker: in the first
// there is none. The victim's loss is counted by the packets' numbers, and its socket's
// statistics must agree.
//
//	go test ./internal/hostile                          # fails on loss, or on stalls of a second
//	go test ./internal/hostile -run xxx -bench .        # the figures, and ratios of the phases
//	go test ./internal/hostile -hostile.time 10s        # longer phases
//	go test ./internal/hostile -hostile.rxring PATH     # another daemon
//	go test ./internal/hostile -run Pinned -hostile.pin 60s
//
// TestPinnedMemory has the daemon in a memory cgroup of its own, which must not grow past
// what the attacker's rule allows, and what a daemon needs.
//
// # Another attack
//
// An attack is a function and a call of register, in a file attack_NAME_linux_test.go:
//
//	var _ = register(attack{
//		name: "punch/4MiB",
//		does: "punches holes into its own ring",
//		run:  func(ctx context.Context, at string) (string, error) { ... },
//	})
//
// Its run attaches at the path at, and attacks until ctx ends. A daemon that refuses what
// it does is no error: the attack goes on trying. The string that it returns says what it
// did, for the log. An error means that the attack did not take place. An attack that
// succeeds today says why in its field open: the test then skips it, loudly, unless
// -hostile.open is given. The change that prevents the attack deletes that line.
package hostile
