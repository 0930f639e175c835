package cbpf

import "fmt"

// MaxWalks is how many loads that search a packet [CompileBounded] accepts: see [Walks].
const MaxWalks = 4

// maxAttrs is how many netlink attributes such a load inspects in a bounded filter.
const maxAttrs = 256

// CompileBounded is [Compile] for a program from an untrusted process, whose run time must
// be bounded. It refuses a program with more than [MaxWalks] loads that search the packet.
// In the filter that it returns, SKF_AD_NLATTR and SKF_AD_NLATTR_NEST inspect 256 attributes
// and return 0 if the wanted one is not among them. Linux has neither bound.
func CompileBounded(prog []Instruction) (*Filter, error) {
	walks := 0
	for i, in := range prog {
		if in.walks() {
			walks++
		}
		if walks > MaxWalks {
			return nil, &CheckError{i, in, fmt.Sprintf("load number %d that searches the packet, want at most %d in a filter that another process runs", walks, MaxWalks)}
		}
	}
	f, err := Compile(prog)
	if err != nil {
		return nil, err
	}
	f.attrs = maxAttrs
	return f, nil
}

// Walks counts the loads of a program whose time is not bounded by a constant, but by the
// packet: SKF_AD_NLATTR, SKF_AD_NLATTR_NEST and SKF_AD_PAY_OFFSET.
func Walks(prog []Instruction) (n int) {
	for _, in := range prog {
		if in.walks() {
			n++
		}
	}
	return n
}

func (in Instruction) walks() bool {
	ad, ok := in.Ancillary()
	return ok && (ad == adNlattr || ad == adNlattrNest || ad == adPayOffset)
}
