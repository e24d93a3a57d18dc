# Who may load which policy into the scheduler. The data is in data.json; the input is
# described in the package documentation of runtime/rego.
package muster.loading

default allow := false

# What the platform team has signed may be loaded by everybody.
allow if {
	some key in data.platform_keys
	key in input.policy.signers
}

# A team may load its own job orders, under names of its own, from where it keeps them.
allow if {
	team := data.teams[input.policy.by]
	startswith(input.policy.name, team.names)
	some source in team.sources
	startswith(input.policy.source, source)
	count(input.policy.kinds) > 0
	every kind in input.policy.kinds { kind in {"job_order"} }
}

deny contains sprintf("%s is withdrawn: %s", [input.policy.digest, why]) if {
	why := data.withdrawn[input.policy.digest]
}
