// Package serve implements `rxring serve`: a daemon that offers devices to other users'
// programs, by rules in a file.
//
//	daemon.go          the daemon, from its start to SIGTERM
//	config.go          the file; rule.go: its [[allow]] tables; toml_document.go: its lines
//	classes.go         the classes of rxring ship, from the same tables
//	grant.go           a rule becomes the attach.Grant of a peer; principal.go: users and groups
//	filter_headers.go  the filter of snaplen = "headers"
//	sources.go         the feeds, and what a reload changes of them
//	reload.go          SIGHUP, step by step; intersect.go: the grants meanwhile
//	socket.go          the unix socket: made here, or passed by systemd
//	confine.go         what the process gives up: user, capabilities, files, system calls
//	check.go           --check: the configuration in words
//	audit.go           the audit log
//	page.go            the page of --http, and what it is granted
//	metrics.go         Prometheus' counters; package metrics serves them
//
// The one invariant: a peer is granted what the first rule that matches it allows and no
// more, and a file with a mistake changes nothing.
package serve
