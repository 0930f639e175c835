// Package conformance asks the running kernel whether rxring is right.
//
// A script is a list of what a program and the wire do: sockets opened, options
// set and read, packets that come in and leave, slots handed back. It runs
// twice at once: on kernel packet sockets in a private network namespace, and on
// rxring's through its byte-level API, here and attached to another process, or in
// a program under rxring run that makes the system calls. After every step all that a program can
// see must be equal: what the call returned and filled in, what poll says of
// every socket, the name of every socket, and every byte of every mapped ring
// that has been handed over.
//
// The times of packets belong to the run, and so does whether the machine
// stamps packets early (TP_STATUS_TS_SOFTWARE: any process with SO_TIMESTAMP
// turns that on for all): of a time only its presence is compared. Of a V3 block
// that has not been handed over, only the status word is: its contents are its
// writer's own business.
//
// Scripts are written by hand (stories_linux_test.go) and generated
// (generate_linux_test.go). One that differs is shrunk by pgregory.net/rapid to
// its smallest form and printed as Go that can be pasted into a story. Wanted
// differences are named in differences_linux_test.go and docs/compatibility.md,
// each with a script that shows it.
//
//	go test ./conformance                                  # 1000 generated scripts, the same each time; 200 with -race
//	go test ./conformance -run Generated -conformance.scripts=100
//	go test ./conformance -run Generated -conformance.soak=10m -timeout=0 # others each time
//	go test ./conformance -run Generated -rapid.seed=N     # one script again, shrunk
package conformance
