module github.com/rxring/rxring/source/file

go 1.26.0

require (
	github.com/klauspost/compress v1.20.4
	github.com/rxring/rxring v0.1.0
	go.uber.org/goleak v1.3.0
)

require golang.org/x/sys v0.50.0 // indirect
