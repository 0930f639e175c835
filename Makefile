# `make demo` and `make test` set up what they need; see scripts/deps.
GO ?= go
export CGO_ENABLED ?= 0

RXRING = bin/rxring

.PHONY: demo
demo: build ## packets longer than 60000 bytes, from streams in a Go process, in an unmodified tcpdump
	@scripts/deps tcpdump
	$(RXRING) run -- tcpdump -i net0 --immediate-mode -B 129 -n -c 20 greater 60000

.PHONY: build
build: ## bin/rxring
	$(GO) build -o $(RXRING) ./cmd/rxring

.PHONY: test
test: deps lint fuzz-smoke ## everything that must hold
	CGO_ENABLED=1 $(GO) test -race -cover ./...

.PHONY: deps
deps: ## the Debian packages that tests use, when this user may install them
	@scripts/deps --optional tcpdump tshark ngrep gcc libpcap-dev util-linux procps

.PHONY: lint
lint: ## formatting, vet on every system that builds, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	$(GO) build -C tools -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...

# Each fuzz target for a few seconds: enough to see that it runs and to try the
# corpus' neighbours. FUZZTIME=60s for a real look.
FUZZTIME ?= 3s
.PHONY: fuzz-smoke
fuzz-smoke:
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## the hot path: DESIGN's budgets, with allocations
	$(GO) test -run '^$$' -bench . -benchmem . ./ring ./cbpf

.PHONY: help
help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ #/' | column -t -s '#'
