package hostile

import (
	"flag"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

var (
	phaseTime    = flag.Duration("hostile.time", 250*time.Millisecond, "how long a phase lasts")
	otherProgram = flag.String("hostile.rxring", "", "the rxring that serves; \"\": this tree's")
	tryOpen      = flag.Bool("hostile.open", false, "also try attacks that succeed today")
)

// warmUpTime is how long packets pass before the first phase.
const warmUpTime = 150 * time.Millisecond

// cleanUp runs after all tests.
var cleanUp []func()

// tries is how often an attack is tried if it looks harmful: the machine may be busy with
// something else.
const tries = 3

// TestAttacks tries each attack. It fails if the victim loses packets, or if the victim or the
// newcomer waits a second longer than without the attacker. The first try of an attack is
// compared with a quiet phase that attacks share, a further one with its own.
func TestAttacks(t *testing.T) {
	need.Time(t, "each attack lasts seconds")
	needRoot(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			if a.open != "" && !*tryOpen {
				need.Skip(t, need.Inapplicable, "this attack succeeds today: %s: a user who %s", a.open, a.does)
			}
			for try := 1; ; try++ {
				r := run(t, a, try == 1)
				t.Logf("try %d, quiet:    %v", try, &r.phases[quiet])
				t.Logf("try %d, attacked: %v", try, &r.phases[attacked])
				t.Logf("try %d, the attacker: %s", try, r.did)
				for _, f := range r.faults {
					t.Error(f)
				}
				harm := r.harm()
				if harm == "" || t.Failed() {
					return
				}
				if try == tries {
					t.Fatalf("under a user who %s: %s", a.does, harm)
				}
				t.Logf("try %d: %s", try, harm)
			}
		})
	}
}

// BenchmarkAttacks reports each attack's figures.
func BenchmarkAttacks(b *testing.B) {
	needRoot(b)
	for _, a := range attacks {
		b.Run(a.name, func(b *testing.B) {
			var r *result
			for b.Loop() {
				r = run(b, a, false)
			}
			for _, f := range r.faults {
				b.Error(f)
			}
			q, at := &r.phases[quiet], &r.phases[attacked]
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(at.rate()/q.rate(), "rate-ratio")
			b.ReportMetric(float64(at.lost()), "lost")
			b.ReportMetric(ms(q.Worst), "quiet-worst-ms")
			b.ReportMetric(ms(at.Worst), "worst-ms")
			b.ReportMetric(float64(at.failed), "attaches-failed")
			b.ReportMetric(ms(at.worstAttach), "worst-attach-ms")
			b.Logf("quiet:    %v", q)
			b.Logf("attacked: %v", at)
			b.Logf("the attacker: %s", r.did)
		})
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	need.Root(t, "start processes of other users")
}

// quietPhases are the shared quiet phases by the packet that the sender sends.
var quietPhases = make(map[*byte]figures)

// run runs an attack, with a quiet phase of its own or the shared one.
func run(t testing.TB, a attack, share bool) *result {
	t.Helper()
	if a.packet == nil {
		a.packet = quietPacket
	}
	r := new(result)
	switch {
	case share:
		q, ok := quietPhases[&a.packet[0]]
		if !ok {
			newSession(t, a, false).run(r, quiet)
			q = r.phases[quiet]
			quietPhases[&a.packet[0]] = q
		}
		newSession(t, a, true).run(r, attacked)
		r.phases[quiet] = q
	case a.early > 0:
		newSession(t, a, false).run(r, quiet)
		newSession(t, a, true).run(r, attacked)
	default:
		newSession(t, a, true).run(r, quiet, attacked)
	}
	return r
}
