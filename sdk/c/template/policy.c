// my-policy: a job order. Jobs of higher priority come first, and waiting raises a job:
// by one for each full hour that it has waited, times the param boost.
#include "muster.h"

#define HOUR 3600000000000

static muster_status my_policy(muster_jobs *b) {
	// Columns that policy.yaml lists under required. An optional one is NULL if the host
	// does not have it.
	MUSTER_REQUIRE(b, priority);
	MUSTER_REQUIRE(b, wait);
	// Slot 0 is the first param of policy.yaml; give its default once more.
	const int64_t boost = muster_param_i64(&b->call, 0, 1);

	for (uint32_t i = 0; i < b->call.n; i++)
		b->key0[i] = -(b->priority[i] + boost * (b->wait[i] / HOUR)); // the smallest key runs first
	return MUSTER_OK;
}
MUSTER_JOB_ORDER(my_policy)
