// Tests of muster.h against bytes as the host writes them (hostabi/abi.md), built by the
// C compiler of the machine. tools/sdks.sh runs it with the sanitizers on.
#include "muster_test.h"

static void put16(unsigned char *p, uint32_t v) { p[0] = (unsigned char)v, p[1] = (unsigned char)(v >> 8); }
static void put32(unsigned char *p, uint32_t v) { put16(p, v), put16(p + 2, v >> 16); }
static void put64(unsigned char *p, uint64_t v) { put32(p, (uint32_t)v), put32(p + 4, (uint32_t)(v >> 32)); }

#define TOTAL 2048u

// column writes descriptor i.
static void column(unsigned char *batch, int i, uint32_t stride, uint32_t id, uint8_t type, uint32_t size, uint32_t offset, uint32_t n) {
	unsigned char *d = batch + 192 + (uint32_t)i * stride;
	put32(d, id);
	d[4] = type;
	put16(d + 6, size);
	put32(d + 8, offset);
	put32(d + 12, n);
}

// wire is a batch of two jobs: the queue's name, priority, measured use of which the
// second is unknown, a column of a later version, a label, key 0, its count and format.
// The header has 192 bytes, and descriptors have the given stride.
static unsigned char *wire(uint32_t stride) {
	unsigned char *b = aligned_alloc(64, TOTAL);
	memset(b, 0, TOTAL);
	memcpy(b, "MSTR", 4);
	put16(b + 4, 1);
	put16(b + 6, 9);
	put32(b + 8, 192);
	put32(b + 12, TOTAL);
	put32(b + 16, 1);
	put32(b + 20, 2);
	put16(b + 24, 5);
	put16(b + 26, 3);
	put32(b + 28, 192);
	put32(b + 32, stride);
	put64(b + 40, 99);
	put64(b + 56, 7);
	put32(b + 64, 1024);
	put32(b + 68, 2);
	put32(b + 80, 1920);
	put32(b + 84, 16);
	put32(b + 92, 1728);
	put32(b + 96, 1);
	column(b, 0, stride, 0x0101, 4, 4, 1088, 1);
	column(b, 1, stride, 0x0104, 1, 8, 1152, 2);
	column(b, 2, stride, 0x0114, 1, 8, 1216, 2);
	put32(b + 192 + 2 * stride + 16, 1280); // its bitmap
	column(b, 3, stride, 0x017f, 77, 3, 1, 2);
	column(b, 4, stride, 0x01000001, 4, 4, 1344, 2);
	column(b, 5, stride, 0x0181, 1, 8, 1408, 2);
	column(b, 6, stride, 0x0185, 3, 4, 1472, 1);
	column(b, 7, stride, 0x0186, 3, 4, 1536, 1);
	put64(b + 1024, (uint64_t)-5);
	put64(b + 1032, 0x3ff8000000000000); // 1.5
	put64(b + 1152, 5);
	put64(b + 1160, 7);
	put64(b + 1216, 11);
	put64(b + 1224, (uint64_t)-1);
	b[1280] = 1;
	put32(b + 1344, 1);
	put32(b + 1348, MUSTER_NO_TEXT);
	put32(b + 1472, 1);
	put32(b + 1728, 2); // two texts
	put32(b + 1732, 1792);
	put32(b + 1736, 1856);
	put32(b + 1740, 10);
	put32(b + 1796, 6);
	put32(b + 1800, 10);
	memcpy(b + 1856, "root.ateam", 10);
	return b;
}

static int is(muster_str s, const char *want) {
	muster_str w = {want, (uint32_t)strlen(want)};
	return muster_same(s, w);
}

static muster_status by_priority(muster_jobs *b) {
	MUSTER_CHECK(b->call.n == 2 && b->call.now == 99 && b->call.cycle == 7);
	MUSTER_CHECK(is(b->queue, "root.a") && b->submit == NULL && b->use[0] == 11);
	MUSTER_CHECK(MUSTER_KNOWN(b, use, 0) && !MUSTER_KNOWN(b, use, 1));
	MUSTER_REASON(b, 1, 3); // the batch has no reasons
	MUSTER_CHECK(muster_param_i64(&b->call, 0, 3) == -5 && muster_param_f64(&b->call, 1, 3) == 1.5);
	MUSTER_CHECK(muster_param_i64(&b->call, 2, 3) == 3 && muster_param_bool(&b->call, 0, 0) == 1);
	const uint32_t *label = muster_label(b, 1);
	MUSTER_CHECK(label != NULL && muster_label(b, 0) == NULL);
	MUSTER_CHECK(is(muster_text(&b->call, label[0]), "team") && muster_text(&b->call, label[1]).at == NULL);
	double *key = muster_float_key(b, 0);
	muster_descending(b, 0);
	for (uint32_t i = 0; i < b->call.n; i++)
		key[i] = (double)b->priority[i];
	return MUSTER_OK;
}
MUSTER_JOB_ORDER(by_priority)

static muster_status refuses(muster_queues *b) { return muster_fail(&b->call, MUSTER_INTERNAL, "no idea what to do with it"); }
MUSTER_QUEUE_SHARES(refuses)

static muster_status needs(muster_victims *b) {
	MUSTER_REQUIRE(b, priority);
	return MUSTER_OK;
}
MUSTER_VICTIM_COSTS(needs)

static void a_policy_sees_the_batch_and_its_answer_is_in_the_batch(uint32_t stride) {
	unsigned char *b = wire(stride);
	MUSTER_CHECK(muster_job_order(b, TOTAL) == MUSTER_OK);
	double key;
	memcpy(&key, b + 1416, 8);
	MUSTER_CHECK(key == 7 && b[1536] == 3);
	free(b);
}

static void a_refusal_leaves_its_text_as_far_as_there_is_room(void) {
	unsigned char *b = wire(32);
	put32(b + 16, 2);
	put16(b + 24, 0), put16(b + 26, 0);
	MUSTER_CHECK(muster_queue_shares(b, TOTAL) == MUSTER_INTERNAL);
	MUSTER_CHECK(b[88] == 16 && memcmp(b + 1920, "no idea what to ", 16) == 0);
	put32(b + 16, 3);
	MUSTER_CHECK(muster_victim_costs(b, TOTAL) == MUSTER_BAD_INPUT && memcmp(b + 1920, "column priority ", 16) == 0);
	free(b);
}

static void bytes_that_are_no_batch_are_bad_input(void) {
	static const struct {
		const char *what;
		uint32_t at, value, room;
	} cases[] = {
		{"too short", 0, 0x5254534d, 100}, {"cut off", 0, 0x5254534d, TOTAL - 1}, {"no magic", 0, 1, TOTAL},
		{"another version", 4, 2, TOTAL}, {"another kind", 16, 2, TOTAL}, {"a short header", 8, 64, TOTAL},
		{"short descriptors", 32, 31, TOTAL}, {"descriptors outside", 28, 0xfffffff0, TOTAL},
		{"params outside", 68, 0xffffffff, TOTAL}, {"params at an odd place", 64, 1025, TOTAL},
		{"error text outside", 84, 0xffffffff, TOTAL}, {"error text over the header", 80, 0, TOTAL},
		{"more rows than elements", 20, 3, TOTAL},
		{"a column outside", 192 + 32 + 8, 0xfffffff8, TOTAL}, {"a column at an odd place", 192 + 32 + 8, 1153, TOTAL},
		{"a bitmap outside", 192 + 64 + 16, 0xffffffff, TOTAL}, {"a type that the schema contradicts", 192 + 32 + 4, 2, TOTAL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		unsigned char *b = wire(32);
		put32(b + cases[i].at, cases[i].value);
		uint32_t status = muster_job_order(b, cases[i].room);
		if (status != MUSTER_BAD_INPUT) {
			fprintf(stderr, "%s: status %u\n", cases[i].what, status);
			muster_test_failures++;
		}
		free(b);
	}
}

static muster_status reads_all(muster_jobs *b) {
	volatile uint64_t sum = 0;
	for (uint32_t i = 0; i < b->call.n; i++)
		sum += (uint64_t)(b->priority ? b->priority[i] : 0) + (uint64_t)(MUSTER_KNOWN(b, use, i) ? b->use[i] : 0);
	for (uint32_t i = 0; i < 4; i++)
		sum += muster_text(&b->call, i).len + (muster_label(b, i) != NULL && b->call.n > 0 ? muster_label(b, i)[b->call.n - 1] : 0);
	for (uint32_t i = 0; i < b->call.param_count; i++)
		sum += (uint64_t)muster_param_i64(&b->call, i, 0);
	return muster_fail(&b->call, MUSTER_ABSTAIN, "done");
}

// The sanitizers watch: whatever the bytes, nothing outside of the batch is touched.
static void no_bytes_lead_outside_of_the_batch(void) {
	uint64_t seed = 1;
	int opened = 0;
	for (int round = 0; round < 20000; round++) {
		unsigned char *b = wire(32);
		for (int k = 0; k < 3; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			uint32_t at = (uint32_t)(seed >> 33) % (k == 0 ? TOTAL : 448), value = (uint32_t)(seed >> 20);
			put32(b + at / 4 * 4, value >> (seed >> 60) * 2);
		}
		muster_jobs j;
		if (muster_open_jobs(&j, b, TOTAL) == MUSTER_OK) {
			opened++;
			reads_all(&j);
		}
		free(b);
	}
	MUSTER_CHECK(opened > 100 && opened < 19000);
}

// golden reads a batch of hostabi/testdata, which the host's own encoder wrote.
static unsigned char *golden(const char *dir, const char *name, uint32_t *size) {
	char path[1024];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "rb");
	unsigned char *b = aligned_alloc(64, 4096);
	if (f == NULL || b == NULL) {
		perror(path);
		exit(2);
	}
	*size = (uint32_t)fread(b, 1, 4096, f);
	fclose(f);
	return b;
}

static void the_hosts_own_batches_are_read(const char *dir) {
	static const char *const names[] = {"example.mbatch", "later.mbatch"};
	for (int i = 0; i < 2; i++) {
		uint32_t size;
		unsigned char *bytes = golden(dir, names[i], &size);
		muster_jobs b;
		MUSTER_CHECK(muster_open_jobs(&b, bytes, size) == MUSTER_OK);
		MUSTER_CHECK(b.call.n == 3 && b.call.now == 1000 && b.call.seed == 42 && b.call.cycle == 7);
		MUSTER_CHECK(b.priority[0] == 5 && b.priority[1] == -1 && b.priority[2] == 7 && b.wait == NULL && b.key0 != NULL);
		MUSTER_CHECK(MUSTER_KNOWN(&b, use, 0) && !MUSTER_KNOWN(&b, use, 1) && MUSTER_KNOWN(&b, use, 2) && b.use[1] == MUSTER_UNSET);
		MUSTER_CHECK(b.call.param_count == 2 && muster_param_f64(&b.call, 0, 0) == 1.5 && is(muster_text(&b.call, muster_param_text(&b.call, 1)), "gold"));
		const uint32_t *team = muster_label(&b, 0);
		MUSTER_CHECK(is(muster_text(&b.call, team[0]), "silver") && team[1] == MUSTER_NO_TEXT && team[2] == muster_param_text(&b.call, 1));
		MUSTER_CHECK(muster_label(&b, 1) == NULL && muster_param_text(&b.call, 2) == MUSTER_NO_TEXT);
		free(bytes);
	}
	uint32_t size;
	unsigned char *bytes = golden(dir, "v1.0.mbatch", &size);
	muster_jobs b;
	MUSTER_CHECK(muster_open_jobs(&b, bytes, size) == MUSTER_OK && b.call.n == 3 && is(b.queue, "root.research"));
	MUSTER_CHECK(b.wait[0] == 30 && b.wait[1] == 20 && b.wait[2] == 10 && b.use == NULL && b.user_name == NULL && b.call.param_count == 0);
	free(bytes);
}

int main(int argc, char **argv) {
	the_hosts_own_batches_are_read(argc > 1 ? argv[1] : "hostabi/testdata");
	a_policy_sees_the_batch_and_its_answer_is_in_the_batch(32);
	a_policy_sees_the_batch_and_its_answer_is_in_the_batch(64);
	a_refusal_leaves_its_text_as_far_as_there_is_room();
	bytes_that_are_no_batch_are_bad_input();
	no_bytes_lead_outside_of_the_batch();
	return muster_test_report();
}
