package clock

// kernelSource is what Linux calls its clock source if it reads the same counter.
const kernelSource = "tsc"

// counter reads the TSC. Loads and stores around it may be executed earlier or later.
func counter() uint64

// invariant reports whether the TSC ticks at one rate in all states of the processor: CPUID's
// Fn8000_0007, EDX, bit 8.
func invariant() bool
