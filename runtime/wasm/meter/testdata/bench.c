// The hot loops of policies, as C compiles them, over columns of its own: what
// BenchmarkMeter measures. Each export returns a checksum, so that nothing is left out.
#include <stdint.h>
#define N 10000
#define EXPORT(n) __attribute__((export_name(#n)))
static int64_t duration[N], wait_ns[N], gpus[N], priority[N];
static uint32_t user[N];
static double key[N];
static int64_t rank[N];
static uint64_t seed = 1;
static uint64_t next(void) { seed = seed * 6364136223846793005u + 1442695040888963407u; return seed >> 20; }

EXPORT(fill) void fill(void) {
	for (int i = 0; i < N; i++) {
		duration[i] = (int64_t)(next() % 100) - 5;
		wait_ns[i] = next() % 1000000, gpus[i] = next() % 64, priority[i] = next() % 10, user[i] = next() % 1000;
	}
}

// Aged shortest job first: the tightest loop that a policy has.
EXPORT(aged) uint64_t aged(uint32_t n) {
	for (uint32_t i = 0; i < n; i++) {
		int64_t d = duration[i] >= 0 ? duration[i] : 3600000;
		double a = 0.5 * (double)wait_ns[i];
		key[i] = (double)d - a;
	}
	return (uint64_t)key[n - 1];
}

// Several columns, branches and a loop per row.
EXPORT(mixed) uint64_t mixed(uint32_t n) {
	uint64_t sum = 0;
	for (uint32_t i = 0; i < n; i++) {
		int64_t k = priority[i] << 40;
		for (int64_t w = wait_ns[i]; w > 1000; w >>= 2)
			k += 1 << 20;
		if (gpus[i] > 8) k -= gpus[i] * 977; else k += user[i];
		rank[i] = k, sum += (uint64_t)k;
	}
	return sum;
}

static __attribute__((noinline)) int64_t price(int64_t p, int64_t g, int64_t w) { return g > 8 ? p * w / (g + 1) : p * g + w; }

// A call of a small function for each row.
EXPORT(calls) uint64_t calls(uint32_t n) {
	uint64_t sum = 0;
	for (uint32_t i = 0; i < n; i++) sum += (uint64_t)(rank[i] = price(priority[i], gpus[i], wait_ns[i]));
	return sum;
}

static void sift(uint32_t at, uint32_t n) {
	for (;;) {
		uint32_t c = 2 * at + 1;
		if (c >= n) return;
		if (c + 1 < n && rank[c + 1] > rank[c]) c++;
		if (rank[at] >= rank[c]) return;
		int64_t x = rank[at];
		rank[at] = rank[c], rank[c] = x, at = c;
	}
}

// A sort on the heap: branches that nobody foresees, and memory.
EXPORT(sorted) uint64_t sorted(uint32_t n) {
	for (uint32_t i = 0; i < n; i++) rank[i] = (int64_t)(wait_ns[i] * 7919 % 65537);
	for (uint32_t i = n / 2; i-- > 0;) sift(i, n);
	for (uint32_t e = n; e-- > 1;) {
		int64_t x = rank[0];
		rank[0] = rank[e], rank[e] = x;
		sift(0, e);
	}
	return (uint64_t)rank[n / 2];
}
