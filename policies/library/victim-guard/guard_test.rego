package muster.protection_test

import data.muster.protection

unit := {
	"job": {"user": "bob", "labels": {"kind": "train"}, "duration_s": 1000},
	"evicted": 0, "running_s": 100, "lost_gpu_s": 800, "surplus": false,
}

with_job(change) := object.union(unit, {"job": object.union(unit.job, change)})

test_nobody_is_protected_by_default if {
	protection.protect == {} with input.units as [unit, unit]
}

test_services_stay if {
	protection.protect == {1: {"service jobs are not evicted"}} with input.units as [unit, with_job({"labels": {"kind": "service"}})]
}

test_a_job_without_labels_is_no_service if {
	protection.protect == {} with input.units as [object.union(unit, {"job": {"labels": {}}})]
}

test_the_person_on_call_keeps_their_jobs if {
	protection.protect[0] == {"ann is on call"} with input.units as [with_job({"user": "ann"})]
}

test_the_third_eviction_was_the_last if {
	protection.protect[0] == {"it was preempted 3 times"} with input.units as [object.union(unit, {"evicted": 3})]
}

test_a_job_that_is_nearly_done_stays if {
	protection.protect[0] == {"it is nearly done"} with input.units as [object.union(unit, {"running_s": 960})]
}

test_a_job_that_runs_longer_than_declared_is_not_nearly_done if {
	protection.protect == {} with input.units as [object.union(unit, {"running_s": 1200})]
}

test_a_large_loss_needs_a_person_but_not_for_surplus if {
	large := object.union(unit, {"lost_gpu_s": 2000000})
	surplus := object.union(large, {"surplus": true})
	protection.protect == {0: {"556 GPU-hours would be lost"}} with input.units as [large, surplus]
}
