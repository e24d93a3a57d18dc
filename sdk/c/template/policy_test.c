// Tests of my-policy as plain C, without Wasm: make test
#include "muster_test.h"

#include "policy.c"

static void the_highest_priority_comes_first(void) {
	muster_jobs *b = muster_test_jobs(3, 0); // every column, all zeros
	b->priority[1] = 10;
	b->priority[2] = 5;
	MUSTER_CHECK(my_policy(b) == MUSTER_OK);
	uint32_t order[3];
	muster_test_order(b, order);
	MUSTER_CHECK(order[0] == 1 && order[1] == 2 && order[2] == 0);
}

static void waiting_raises_a_job(void) {
	muster_jobs *b = muster_test_jobs(2, 0);
	b->priority[0] = 2;
	b->wait[1] = 3 * HOUR;
	MUSTER_CHECK(my_policy(b) == MUSTER_OK && muster_test_first(b) == 1);
	muster_test_param_i64(&b->call, 0, 0); // boost
	MUSTER_CHECK(my_policy(b) == MUSTER_OK && muster_test_first(b) == 0);
}

int main(void) {
	the_highest_priority_comes_first();
	waiting_raises_a_job();
	return muster_test_report();
}
