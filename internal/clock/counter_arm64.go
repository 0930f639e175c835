package clock

// kernelSource is what Linux calls its clock source if it reads the same counter.
const kernelSource = "arch_sys_counter"

// counter reads CNTVCT_EL0. Loads and stores around it may be executed earlier or later.
func counter() uint64

// invariant reports whether the counter ticks at one rate: the architecture guarantees it.
func invariant() bool { return true }
