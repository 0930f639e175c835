package hostile

import (
	"fmt"
	"time"
)

// figures is what a phase of a run looked like to others than the attacker.
type figures struct {
	lasted time.Duration
	sent   uint64
	reading
	began            time.Duration // what the victim's own beginning took
	attaches, failed int           // a newcomer's
	worstAttach      time.Duration // the longest of these
}

// lost is how many packets the victim did not get.
func (f *figures) lost() uint64 { return f.sent - f.Read }

// rate is packets a second.
func (f *figures) rate() float64 { return float64(f.Read) / f.lasted.Seconds() }

func (f *figures) String() string {
	return fmt.Sprintf("%6.0f packets/s of %6.0f, %6d lost, worst delay %7.1f ms, longest gap %7.1f ms; began in %.1f ms; %d of %d attaches failed, the longest took %.1f ms",
		f.rate(), float64(f.sent)/f.lasted.Seconds(), f.lost(), ms(f.Worst), ms(f.Gap), ms(f.began), f.failed, f.attaches, ms(f.worstAttach))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// result is a run's.
type result struct {
	phases [phases]figures
	did    string   // what the attacker says
	faults []string // what must not be, however busy the machine is
}

// Verdicts are far from what must hold on a quiet machine (DESIGN, promise 5: a tenth): a
// test fails for what nobody can call noise.
const (
	maxSlowdown = 2.0
	maxStall    = time.Second
)

// harm says what the attacker cost the others; "": nothing that stands out.
func (r *result) harm() string {
	q, a := &r.phases[quiet], &r.phases[attacked]
	switch {
	case q.lost() > 0:
		return fmt.Sprintf("the victim lost %d packets without an attacker", q.lost())
	case a.lost() > 0:
		return fmt.Sprintf("the victim lost %d of %d packets", a.lost(), a.sent)
	case a.rate()*maxSlowdown < q.rate():
		return fmt.Sprintf("the victim read %.0f packets a second, without an attacker %.0f", a.rate(), q.rate())
	case a.Worst > q.Worst+maxStall:
		return fmt.Sprintf("the victim got a packet %.0f ms late, without an attacker %.0f", ms(a.Worst), ms(q.Worst))
	case a.began > q.began+maxStall:
		return fmt.Sprintf("the victim began to read after %.0f ms, without an attacker after %.0f", ms(a.began), ms(q.began))
	case a.failed > q.failed:
		return fmt.Sprintf("%d of %d attaches failed, without an attacker %d of %d", a.failed, a.attaches, q.failed, q.attaches)
	case a.worstAttach > q.worstAttach+maxStall:
		return fmt.Sprintf("attaching took up to %.0f ms, without an attacker %.0f", ms(a.worstAttach), ms(q.worstAttach))
	case a.attaches == 0:
		return "nobody could attach"
	}
	return ""
}
