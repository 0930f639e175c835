# `make demo` and `make test` set up what they need; see scripts/deps.
GO ?= go
export CGO_ENABLED ?= 0

RXRING = bin/rxring

# The packages of every module but bench and tools; see go.work.
PACKAGES = ./... ./capture/gopacketsource/... ./cmd/rxring/... ./source/file/... ./source/netstack/...

.PHONY: demo
demo: build ## packets longer than 60000 bytes, from streams in a Go process, in an unmodified tcpdump
	@scripts/deps tcpdump
	$(RXRING) run -- tcpdump -i net0 --immediate-mode -B 129 -n -c 20 greater 60000

.PHONY: build
build: ## bin/rxring
	$(GO) build -o $(RXRING) ./cmd/rxring

.PHONY: static
static: ## bin/rxring without a C library, and without filter expressions
	$(GO) build -tags nolibpcap -o $(RXRING) ./cmd/rxring

.PHONY: packages
packages: ## Debian packages for amd64 and arm64, in bin/packages
	@scripts/packages

.PHONY: test
test: deps lint modules explore fuzz-smoke bench-smoke ## everything that must hold
	CGO_ENABLED=1 $(GO) test -race -cover -timeout 30m $(LONGEST) $(PACKAGES)

# The packages whose tests take longest begin first.
LONGEST = ./cmd/rxring ./conformance ./interpose

.PHONY: modules
modules: ## each module alone, and what a module that requires them gets
	GOWORK=off $(GO) test -C tools -timeout 30m ./modules

.PHONY: explore
explore: ## every interleaving of the ring's real code, at small scope; V=-v prints a trace of each fault
	@$(MAKE) --no-print-directory -j2 explore-slots explore-blocks

.PHONY: explore-slots explore-blocks
explore-slots: # an exploration has one thread
	$(GO) test -count=1 -tags explore -run 'TestExplore$$' $(V) ./internal/ownership
explore-blocks:
	$(GO) test -count=1 -tags explore -run TestExploreBlocks $(V) ./internal/writer

.PHONY: spec
spec: deps ## the Promela models, each with the verdict it must have (make test runs them too)
	@scripts/spec

.PHONY: deps
deps: ## the Debian packages that tests use, when this user may install them
	@scripts/deps --optional tcpdump tshark ngrep netsniff-ng tcpreplay p0f tcpflow iproute2 net-tools ethtool gcc libpcap-dev python3 python3-scapy arp-scan util-linux procps spin iperf3 wireshark-common zstd systemd podman runc uidmap
	@scripts/deps --optional nmap iputils-arping linuxptp wpasupplicant iftop softflowd argus-server argus-client httpry sngrep libnet-pcap-perl tmux iptraf-ng

.PHONY: deps-more
deps-more: ## larger packages for which tests are skipped otherwise; suricata is in bookworm-backports
	@scripts/deps --optional dpdk-dev librte-net-af-packet23 librte-bus-vdev23 librte-mempool-ring23 pmacct termshark suricata masscan zmap darkstat

.PHONY: lint
lint: ## formatting, vet on every system that builds, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	$(GO) vet $(PACKAGES)
	$(GO) vet -tags explore ./internal/slots ./internal/explore ./internal/writer ./internal/ownership
	$(GO) vet -C bench ./...
	GOARCH=arm64 $(GO) vet $(PACKAGES)
	GOOS=darwin GOARCH=arm64 $(GO) vet $(PACKAGES)
	GOOS=windows $(GO) vet $(PACKAGES)
	GOWORK=off $(GO) build -C tools -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck $(PACKAGES)

# Each fuzz target for some inputs: enough to see that it runs and to try the
# corpus' neighbours. FUZZTIME=60s for a real look.
FUZZTIME ?= 2000x
.PHONY: fuzz-smoke
fuzz-smoke:
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: deps ## rxring beside its peers: one table of medians and ratios, some minutes
	$(GO) run -C bench ./cmd/table $(BENCHFLAGS)

.PHONY: bench-smoke
bench-smoke: ## every contender of bench moves the packets that it claims to
	$(GO) test -C bench ./...

.PHONY: tidy
tidy: ## go mod tidy in every module
	@scripts/tidy

.PHONY: help
help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ #/' | column -t -s '#'
