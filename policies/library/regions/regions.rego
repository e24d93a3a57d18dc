# Where jobs may run: data stays in its region, queues have their GPU types, and some
# node pools belong to somebody. The data is in data.json; the input is described in the
# package documentation of runtime/rego.
package muster.placement

# ---- nodes: for each label a node needs one of the values

# A job that names a dataset runs in the regions where the dataset may be read.
nodes["topology.kubernetes.io/region"] := regions if {
	regions := data.datasets[input.job.labels.dataset].regions
}

# Pools are for the queues that own them; everybody else stays in the shared ones.
nodes.pool := {pool | some pool, queues in data.pools; open_to(queues)}

# ---- gpu_types: a queue without an entry may use all types

gpu_types := types if {
	types := data.gpu_types[longest_listed_queue]
}

# ---- deny

# A dataset that nobody has listed is in no region: better to say so than to run.
deny contains sprintf("dataset %s is not listed in data.datasets", [input.job.labels.dataset]) if {
	not data.datasets[input.job.labels.dataset]
}

deny contains sprintf("dataset %s must not be read by %s", [name, input.job.user]) if {
	name := input.job.labels.dataset
	groups := data.datasets[name].groups
	count({g | some g in groups; g in input.job.groups}) == 0
}

# ---- helpers

open_to(queues) if count(queues) == 0

open_to(queues) if {
	some queue in queues
	below(input.job.queue, queue)
}

below(path, queue) if path == queue

below(path, queue) if startswith(path, sprintf("%s.", [queue]))

# The entry of the nearest queue above a job is the one that counts.
longest_listed_queue := queue if {
	lengths := {count(q) | some q, _ in data.gpu_types; below(input.job.queue, q)}
	some queue, _ in data.gpu_types
	below(input.job.queue, queue)
	count(queue) == max(lengths)
}
