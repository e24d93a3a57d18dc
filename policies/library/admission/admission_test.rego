package muster.admission_test

import data.muster.admission

job := {
	"queue": "root.research.llm", "user": "ann", "groups": ["llm"], "priority": 0, "gpus": 8,
	"gpu_types": [], "labels": {}, "duration_s": 0, "preemptible": true,
}

changed(change) := object.union(job, change)

test_a_member_submits_to_the_queue_of_the_team if {
	admission.allow with input.job as job
	count(admission.deny) == 0 with input.job as job
}

test_but_not_elsewhere if not admission.allow with input.job as changed({"queue": "root.platform"})

test_a_suspended_user if {
	admission.deny == {"user mallory is suspended"} with input.job as changed({"user": "mallory"})
}

test_too_many_gpus_for_the_queue if {
	admission.deny == {"513 GPUs asked for, at most 512 per job in root.research.llm"} with input.job as changed({"gpus": 513, "duration_s": 60})
}

test_a_reserved_type if {
	admission.deny == {"GPU type H100 is for llm only"} with input.job as changed({"gpu_types": ["H100"], "groups": ["vision"], "queue": "root.research.vision"})
}

test_a_large_job_declares_its_duration if {
	admission.deny == {"a job of more than 8 GPUs declares its duration"} with input.job as changed({"gpus": 9})
}

test_a_job_without_a_queue_goes_to_the_first_team if {
	admission.queue == "root.research.llm" with input.job as changed({"queue": "", "groups": ["vision", "llm"]})
}

test_the_priority_is_cut_but_not_for_those_on_call if {
	admission.priority == 1000 with input.job as changed({"priority": 5000})
	not admission.priority with input.job as changed({"priority": 5000, "groups": ["llm", "oncall"]})
}
