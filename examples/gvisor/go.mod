module github.com/rxring/rxring/examples/gvisor

go 1.26.0

replace (
	github.com/rxring/rxring => ../..
	github.com/rxring/rxring/source/netstack => ../../source/netstack
)

require (
	github.com/rxring/rxring v0.1.0
	github.com/rxring/rxring/source/netstack v0.1.0
	gvisor.dev/gvisor v0.0.0-20250503011706-39ed1f5ac29c
)

require (
	github.com/google/btree v1.1.2 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/time v0.7.0 // indirect
)
