// Package serve is `rxring serve`: a daemon that offers devices to other users'
// programs, by rules that an operator wrote.
//
//	config.go    the file: what it may say, and where it says something else
//	policy.go    who gets what: rules become an attach.Grant for each peer
//	headers.go   the filter that lets headers pass and no byte of payload
//	sources.go   what feeds the devices, and what a reload changes of it
//	reload.go    SIGHUP, step by step; both.go has the rules meanwhile
//	listen.go    the unix socket: made here, or handed over by systemd
//	confine.go   what the process gives up: its user, capabilities, files, system calls
//	check.go     all that in words, before it is in force
//	audit.go     who did what, for the log; names.go has users' names
//	log.go       the log, which blocks nobody
//	metrics.go   how much of everything, for Prometheus
//	daemon.go    all of it together, from the start to SIGTERM
//
// The one invariant: nobody is granted more than the first rule that names them
// says, and a file that is wrong anywhere changes nothing.
package serve
