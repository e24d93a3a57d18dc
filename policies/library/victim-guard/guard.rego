# Units that must not be evicted, whatever it would bring. All candidates of a queue are
# judged in one evaluation. The data is in data.json; the input is described in the
# package documentation of runtime/rego.
package muster.protection

protect[i] contains sprintf("%s jobs are not evicted", [kind]) if {
	some i, unit in input.units
	kind := unit.job.labels.kind
	kind in data.protected_kinds
}

protect[i] contains sprintf("%s is on call", [unit.job.user]) if {
	some i, unit in input.units
	unit.job.user in data.on_call
}

# Whoever was evicted often enough is left alone: it would never finish.
protect[i] contains sprintf("it was preempted %d times", [unit.evicted]) if {
	some i, unit in input.units
	unit.evicted >= data.max_evictions
}

# A job that has nearly done what it declared costs more to stop than it holds.
protect[i] contains "it is nearly done" if {
	some i, unit in input.units
	unit.job.duration_s > 0
	left := unit.job.duration_s - unit.running_s
	left >= 0
	left <= unit.job.duration_s * data.nearly_done
}

# A large loss needs a person's decision.
protect[i] contains sprintf("%d GPU-hours would be lost", [round(unit.lost_gpu_s / 3600)]) if {
	some i, unit in input.units
	unit.lost_gpu_s > data.max_lost_gpu_hours * 3600
	not unit.surplus
}
