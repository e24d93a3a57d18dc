# Builds each policy of this library into bin/policies/NAME.wasm by the standard Go
# toolchain, if a source of it or of the SDK is newer. Included by the root Makefile,
# and usable by itself from the repository's root: make -f policies/library/guests.mk guests

GUESTS := $(patsubst policies/library/%/main.go,%,$(wildcard policies/library/*/main.go))
GUEST_SDK := $(shell find sdk/go -name '*.go' ! -name '*_test.go') sdk/go/go.mod policies/library/go.mod

.PHONY: guests
guests: $(GUESTS:%=bin/policies/%.wasm)

# $(1) is the name of a policy.
define guest
bin/policies/$(1).wasm: $(filter-out %_test.go,$(wildcard policies/library/$(1)/*.go)) $$(GUEST_SDK)
	@mkdir -p $$(@D)
	cd policies/library && GOOS=wasip1 GOARCH=wasm GOFLAGS= GOWORK=off go build -buildmode=c-shared -trimpath -buildvcs=false -ldflags='-s -w' -o ../../$$@.tmp ./$(1)
	@mv $$@.tmp $$@
endef
$(foreach g,$(GUESTS),$(eval $(call guest,$(g))))
