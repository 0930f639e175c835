module github.com/rxring/rxring/capture/gopacketsource

go 1.26.0

require (
	github.com/gopacket/gopacket v1.7.7
	github.com/rxring/rxring v0.1.0
)

require golang.org/x/sys v0.50.0 // indirect
