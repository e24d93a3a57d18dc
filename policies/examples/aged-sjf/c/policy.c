// aged-sjf: the shortest job first, and waiting makes a job shorter. The key of a job is
//
//	(double)duration - aging * (double)wait
//
// ascending, in ns; the product and the difference are rounded one after the other, so
// that every language gives the same bits. A job that declares no duration counts as one
// of unknown_duration.
#include "muster.h"

#define HOUR 3600000000000

static muster_status aged_sjf(muster_jobs *b) {
	MUSTER_REQUIRE(b, wait);
	const uint32_t n = b->call.n;
	const int64_t *duration = b->duration, *wait = b->wait;
	const double aging = muster_param_f64(&b->call, 0, 0.5);
	const int64_t unknown = muster_param_i64(&b->call, 1, HOUR);
	double *key = muster_float_key(b, 0);
	MUSTER_REQUIRE(b, key0);

	for (uint32_t i = 0; i < n; i++) {
		int64_t d = duration != NULL && duration[i] >= 0 ? duration[i] : unknown;
		double aged = aging * (double)wait[i];
		key[i] = (double)d - aged;
	}
	return MUSTER_OK;
}
MUSTER_JOB_ORDER(aged_sjf)
