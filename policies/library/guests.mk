# Builds each policy of this library into bin/policies/NAME.wasm by the standard Go
# toolchain, with its policy.yaml as the section muster.policy, if any of these or the
# SDK is newer. Included by the root Makefile,
# and usable by itself from the repository's root: make -f policies/library/guests.mk guests

GUESTS := $(patsubst policies/library/%/main.go,%,$(wildcard policies/library/*/main.go))
GUEST_SDK := $(shell find sdk/go policies/library/internal -name '*.go' ! -name '*_test.go') sdk/go/go.mod policies/library/go.mod
GUEST_ANNOTATE := $(shell find runtime/manifest -name '*.go' ! -name '*_test.go')

.PHONY: guests
guests: $(GUESTS:%=bin/policies/%.wasm)

# $(1) is the name of a policy.
define guest
bin/policies/$(1).wasm: $(filter-out %_test.go,$(wildcard policies/library/$(1)/*.go)) policies/library/$(1)/policy.yaml $$(GUEST_SDK) $$(GUEST_ANNOTATE)
	@mkdir -p $$(@D)
	cd policies/library && GOOS=wasip1 GOARCH=wasm GOFLAGS= GOWORK=off go build -buildmode=c-shared -trimpath -buildvcs=false -ldflags='-s -w' -o ../../$$@.tmp ./$(1)
	go run ./runtime/manifest/annotate policies/library/$(1)/policy.yaml $$@.tmp $$@
	@rm $$@.tmp
endef
$(foreach g,$(GUESTS),$(eval $(call guest,$(g))))
