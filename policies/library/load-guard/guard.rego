# Who may load which policy into the scheduler. The data is in data.json; the input is
# described in the package documentation of runtime/rego.
package muster.loading

default allow := false

# What the platform team has signed may be loaded by everybody.
allow if {
	some key in data.platform_keys
	key in input.policy.signers
}

# A team may load its own job orders, for its own queues, from where it keeps them.
allow if {
	team := data.teams[input.policy.by]
	startswith(input.policy.source, team.source)
	every kind in input.policy.kinds { kind in {"job_order"} }
	count(input.policy.queues) > 0
	every queue in input.policy.queues { below(queue, team.queue) }
}

deny contains sprintf("%s is withdrawn: %s", [input.policy.digest, why]) if {
	why := data.withdrawn[input.policy.digest]
}

below(path, queue) if path == queue

below(path, queue) if startswith(path, sprintf("%s.", [queue]))
