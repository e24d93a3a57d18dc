# Admission rules of an organisation with teams: who may submit where, how much,
# and what is corrected on the way in. The data is in data.json; the input is
# described in the package documentation of runtime/rego.
package muster.admission

# ---- allow: must be true, false or undefined refuse

default allow := false

# A user may submit to the queues of their teams and to those below them.
allow if {
	some name, team in data.teams
	name in input.job.groups
	startswith(sprintf("%s.", [effective_queue]), sprintf("%s.", [team.queue]))
}

# ---- deny: any message refuses, whatever allow says

deny contains sprintf("user %s is suspended", [input.job.user]) if {
	input.job.user in data.suspended
}

deny contains sprintf("%v GPUs asked for, at most %v per job in %s", [input.job.gpus, limit, effective_queue]) if {
	limit := object.get(data.max_gpus_per_job, effective_queue, data.default_max_gpus_per_job)
	input.job.gpus > limit
}

deny contains sprintf("GPU type %s is for %s only", [type, concat(", ", owners)]) if {
	some type in input.job.gpu_types
	owners := object.get(data.reserved_gpu_types, type, [])
	count(owners) > 0
	not any_group(owners)
}

deny contains "a job of more than 8 GPUs declares its duration" if {
	input.job.gpus > 8
	input.job.duration_s == 0
}

deny contains "only services may be non-preemptible: set label kind to service" if {
	not input.job.preemptible
	object.get(input.job.labels, "kind", "") != "service"
}

# ---- corrections

# A job that names no queue goes to the first of its user's teams, by name.
queue := effective_queue if input.job.queue == ""

# Nobody outside the on-call group goes above the ceiling.
priority := data.priority_ceiling if {
	input.job.priority > data.priority_ceiling
	not "oncall" in input.job.groups
}

# ---- helpers

effective_queue := input.job.queue if input.job.queue != ""

effective_queue := data.teams[min(mine)].queue if {
	input.job.queue == ""
	count(mine) > 0
}

mine contains name if {
	some name, _ in data.teams
	name in input.job.groups
}

any_group(names) if {
	some name in names
	name in input.job.groups
}
