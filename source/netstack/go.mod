module github.com/rxring/rxring/source/netstack

go 1.26.0

require (
	github.com/gopacket/gopacket v1.7.7
	github.com/rxring/rxring v0.1.0
	go.uber.org/goleak v1.3.0
	gvisor.dev/gvisor v0.0.0-20250503011706-39ed1f5ac29c
)

require (
	github.com/google/btree v1.1.2 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.7.0 // indirect
)
