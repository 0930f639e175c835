// Package hostile has only tests. They measure what a hostile reader of `rxring serve` costs
// the other readers.
//
// A run has a daemon of its own (the rxring of this tree, default limits) on one end of a
// veth pair, and these others, each a process of its own:
//
//   - the sender sends 20,000 packets a second into the pair's other end. Each carries its
//     number, the phase of the run and the time of sending;
//   - the victim, another user, reads them in order;
//   - the newcomer, also of the victim's user, attaches, opens a ring, binds and closes, in a
//     loop;
//   - the attacker, a third user, runs an attack.
//
// A quiet phase without the attacker is compared with an attacked phase of the same length.
// The victim's loss is counted by the packets' numbers, and its socket's statistics must
// agree.
//
//	go test ./internal/hostile                          # fails on loss, or on stalls of a second
//	go test ./internal/hostile -run xxx -bench .        # the figures, and ratios of the phases
//	go test ./internal/hostile -hostile.time 10s        # longer phases
//	go test ./internal/hostile -hostile.rxring PATH     # another daemon
//	go test ./internal/hostile -run Pinned -hostile.pin 60s
//
// TestPinnedMemory runs the daemon in a memory cgroup, which must not grow beyond what the
// attacker's rule allows and a daemon needs.
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
// Its run attaches to the path at and attacks until ctx ends. If the daemon refuses a request,
// it tries again. It returns a description of what it did, for the log; an error means that
// the attack did not take place. An attack that succeeds today has the reason in its field
// open, and the test skips it unless -hostile.open is given. The change that prevents the
// attack deletes that line.
package hostile
