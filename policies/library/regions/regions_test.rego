package muster.placement_test

import data.muster.placement

job := {"queue": "root.research.vision", "user": "ann", "groups": ["vision"], "labels": {}}

test_a_job_stays_in_the_shared_pool if {
	placement.nodes == {"pool": {"shared"}} with input.job as job
}

test_the_owner_of_a_pool_may_use_both if {
	placement.nodes.pool == {"lab", "shared"} with input.job as object.union(job, {"queue": "root.research.lab.a"})
}

test_data_stays_in_its_region if {
	placement.nodes["topology.kubernetes.io/region"] == ["eu-central", "us-east"] with input.job as object.union(job, {"labels": {"dataset": "web-crawl"}})
}

test_a_dataset_of_another_group_is_refused if {
	placement.deny == {"dataset patients must not be read by ann"} with input.job as object.union(job, {"labels": {"dataset": "patients"}})
}

test_an_unlisted_dataset_is_refused if {
	placement.deny == {"dataset nowhere is not listed in data.datasets"} with input.job as object.union(job, {"labels": {"dataset": "nowhere"}})
}

test_nobody_is_refused_without_a_dataset if {
	count(placement.deny) == 0 with input.job as job
}

test_the_nearest_queue_says_the_types if {
	placement.gpu_types == ["H100"] with input.job as object.union(job, {"queue": "root.research.llm.nightly"})
	placement.gpu_types == ["A100", "H100"] with input.job as job
}

test_a_queue_whose_name_only_begins_like_it_is_another if {
	not placement.gpu_types with input.job as object.union(job, {"queue": "root.researchers"})
}
