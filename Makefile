# keyturn: `make run` shows it, `make test` proves it.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
# the race detector needs a C compiler; CI has one
RACE     := $(if $(shell command -v gcc || command -v cc || command -v clang),-race)

SEEDS ?= 100000
FAULTS ?= 1000

.PHONY: help run build test sim mutants fuzz chaos lint vet tidy-check bench clean FORCE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: build ## rotate real keys on this machine; flags by ARGS='--key-lifetime 30s'
	bin/keyturn dev $(ARGS)

build: bin/keyturn bin/devvault ## put bin/keyturn and bin/devvault in place

bin/keyturn: FORCE
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/keyturn

# The dev Vault is a module of its own; it is rebuilt when its sources change.
bin/devvault: $(wildcard deploy/devvault/*.go) deploy/devvault/go.mod deploy/devvault/go.sum
	cd deploy/devvault && CGO_ENABLED=0 go build -trimpath -o ../../$@ .
	@touch $@

test: build ## all tests; with the race detector where there is a C compiler
	go test $(RACE) -timeout 14m ./...
	$(if $(RACE),go test ./rotator/simulation) # all seeds, which the race detector makes too slow
	deploy/fuzz.sh 1s
	cd deploy/devvault && CGO_ENABLED=0 go test -trimpath -timeout 5m ./...

sim: ## SEEDS lives of daemons in simulated time, each with faults of its own
	go test ./rotator/simulation -run '^TestSeeds$$' -seeds $(SEEDS) -timeout 0 -v

mutants: ## break the code on purpose, and see that the tests notice
	go test ./rotator/simulation -run '^TestMutants$$' -hidden 100000 -timeout 0 -v

fuzz: ## FUZZTIME (2s) of fuzzing for each decoder
	deploy/fuzz.sh $(or $(FUZZTIME),2s)

chaos: build ## FAULTS faults on real processes: three daemons, three NATS nodes, Vault, portal
	go run ./cmd/chaos -faults $(FAULTS)

lint: vet tidy-check ## vet, golangci-lint, go.mod tidy
	go run $(GOLANGCI) run ./...

vet:
	go vet ./...

tidy-check:
	go mod tidy -diff
	cd deploy/devvault && go mod tidy -diff

bench: build ## measure against the raw limits of this machine; ARGS='-recover 1000000'
	go run ./cmd/bench $(ARGS)

clean: ## remove what was built, and the state of `make run`
	rm -rf bin .keyturn
