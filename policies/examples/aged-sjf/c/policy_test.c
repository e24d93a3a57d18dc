// Tests of aged-sjf as plain C, without Wasm.
#include "muster_test.h"

#include "policy.c"

static void the_shortest_job_comes_first(void) {
	muster_jobs *b = muster_test_jobs(3, 0);
	b->duration[0] = 3 * HOUR, b->duration[1] = HOUR, b->duration[2] = 2 * HOUR;
	MUSTER_CHECK(aged_sjf(b) == MUSTER_OK);
	uint32_t order[3];
	muster_test_order(b, order);
	MUSTER_CHECK(order[0] == 1 && order[1] == 2 && order[2] == 0);
}

static void waiting_makes_a_job_shorter(void) {
	muster_jobs *b = muster_test_jobs(2, 0);
	b->duration[0] = HOUR, b->duration[1] = 2 * HOUR;
	b->wait[1] = 3 * HOUR;
	MUSTER_CHECK(aged_sjf(b) == MUSTER_OK && muster_test_first(b) == 1);
	muster_test_param_f64(&b->call, 0, 0.125); // aging
	MUSTER_CHECK(aged_sjf(b) == MUSTER_OK && muster_test_first(b) == 0);
}

static void a_job_of_unknown_duration_counts_as_the_param_says(void) {
	muster_jobs *b = muster_test_jobs(2, 0);
	b->duration[0] = 2 * HOUR, b->duration[1] = MUSTER_UNSET;
	MUSTER_CHECK(aged_sjf(b) == MUSTER_OK && muster_test_first(b) == 1);
	muster_test_param_i64(&b->call, 1, 5 * HOUR); // unknown_duration
	MUSTER_CHECK(aged_sjf(b) == MUSTER_OK && muster_test_first(b) == 0);
}

static void without_durations_the_longest_wait_comes_first(void) {
	muster_jobs *b = muster_test_jobs(2, 0);
	b->duration = NULL;
	b->wait[0] = 1, b->wait[1] = HOUR;
	MUSTER_CHECK(aged_sjf(b) == MUSTER_OK && muster_test_first(b) == 1);
}

static void without_waits_it_refuses(void) {
	muster_jobs *b = muster_test_jobs(2, 0);
	b->wait = NULL;
	MUSTER_CHECK(aged_sjf(b) == MUSTER_BAD_INPUT);
}

int main(void) {
	the_shortest_job_comes_first();
	waiting_makes_a_job_shorter();
	a_job_of_unknown_duration_counts_as_the_param_says();
	without_durations_the_longest_wait_comes_first();
	without_waits_it_refuses();
	return muster_test_report();
}
