package ring

// stepKind is what a step on the memory shared with the reader is about.
type stepKind uint8

const (
	stepStatus stepKind = iota // a slot's status word
	stepMark                   // the mark in a slot's padding
)
