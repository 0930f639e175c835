package slots

// Field is a word of a slot in shared memory.
type Field uint8

const (
	StatusWord Field = iota // tp_status
	MarkWord                // the mark in a slot's padding (internal/ownership)
)
