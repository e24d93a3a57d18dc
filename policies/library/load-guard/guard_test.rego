package muster.loading_test

import data.muster.loading

mine := {
	"name": "llm-order", "source": "file:policies/llm/order.wasm", "digest": "sha256:1", "by": "llm",
	"signers": [], "kinds": ["job_order"],
}

test_a_team_loads_its_own_order if loading.allow with input.policy as mine

test_not_under_the_name_of_others if {
	not loading.allow with input.policy as object.union(mine, {"name": "vision-order"})
}

test_from_its_registry_too if {
	loading.allow with input.policy as object.union(mine, {"source": "oci:registry.internal/llm/order:1.2"})
}

test_what_decides_nothing_is_not_allowed if {
	not loading.allow with input.policy as object.union(mine, {"kinds": []})
}

test_not_fairness if {
	not loading.allow with input.policy as object.union(mine, {"kinds": ["job_order", "queue_shares"]})
}

test_not_from_elsewhere if {
	not loading.allow with input.policy as object.union(mine, {"source": "file:order.wasm"})
}

test_a_stranger_loads_nothing if {
	not loading.allow with input.policy as object.union(mine, {"by": "mallory"})
}

test_what_the_platform_signed_is_for_everybody if {
	loading.allow with input.policy as object.union(mine, {"by": "mallory", "kinds": ["queue_shares"], "signers": ["platform-2026"]})
}

test_a_withdrawn_version_is_for_nobody if {
	digest := "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	count(loading.deny) == 1 with input.policy as object.union(mine, {"digest": digest})
}
