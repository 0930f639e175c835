module github.com/rxring/rxring/source/netstack

go 1.26.0

require (
	github.com/gopacket/gopacket v1.7.7
	github.com/rxring/rxring v0.1.0
	go.uber.org/goleak v1.3.0
	gvisor.dev/gvisor v0.0.0-20240320123526-dc6abceb7ff0
)

require (
	github.com/google/btree v1.1.2 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/time v0.5.0 // indirect
)
