// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Sees processes start and stop using a GPU, and the launches of armed ones. No program
// reads an argument, a register or memory of a process: only who called, and when.
//
// The launch program runs on a path that jobs are measured by: one lookup, one atomic
// add, and an event at the first launch and at the one that is too many.
#include "cgroup.h"
#include "kernel.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define SECOND 1000000000ULL

enum kind { STARTED = 1, EXITED, WOKE, OVERRUN };

struct event {
	u64 at; // ns, CLOCK_MONOTONIC
	u64 cgroup;
	u32 pid;
	u32 kind;
};

// One armed pid. Go makes the entry before it attaches, and the kernel removes it when
// the process is gone: so a new process with an old number never has one.
struct count {
	u64 launches;
	u64 last; // ns of the last launch, 0 if none
	u64 cgroup;
	u64 window; // ns at which the second began in which burst counts
	u32 burst;
	u32 woke; // the first launch since it was armed was told
	u32 over; // too many launches: no more are counted
	u32 pad;
};

// Plain hashes: an LRU map may forget a pid while there is room, as every CPU keeps free
// places to itself. Not one map per CPU, which would make reading cost by CPUs (256 of
// them: 100 times the bytes); who is armed launches rarely, or is disarmed soon.
struct {
	map_number(type, MAP_HASH);
	map_number(max_entries, 4096);
	map_type(key, u32);
	map_type(value, struct count);
} counts SEC(".maps");

// Processes whose start was told: told once, and their exit as well.
struct {
	map_number(type, MAP_HASH);
	map_number(max_entries, 16384);
	map_type(key, u32);
	map_type(value, u64);
} started SEC(".maps");

struct {
	map_number(type, MAP_RINGBUF);
	map_number(max_entries, 64 * 1024);
} events SEC(".maps");

struct {
	map_number(type, MAP_ARRAY);
	map_number(max_entries, 1);
	map_type(key, u32);
	map_type(value, u64);
} lost SEC(".maps");

// How many launches in a second are too many. Go may set another number.
const volatile u32 overrun = 2000;

inline_always u32 process(void) { return pid_tgid() >> 32; }

inline_always void lose(void) {
	u32 zero = 0;
	u64 *n = map_lookup(&lost, &zero);
	if (n)
		__sync_fetch_and_add(n, 1);
}

inline_always void tell(u32 kind, u32 pid, u64 cgroup, u64 now) {
	struct event e = {.at = now, .cgroup = cgroup, .pid = pid, .kind = kind};
	if (ringbuf_output(&events, &e, sizeof(e), 0))
		lose();
}

// start: on cuInit and on the making of contexts.
SEC("uprobe.multi")
int start(void *unused) {
	u32 pid = process();
	u64 now = ktime();
	if (!map_update(&started, &pid, &now, NOEXIST))
		tell(STARTED, pid, cgroup_id(), now);
	else if (!map_lookup(&started, &pid))
		lose(); // full
	return 0;
}

// launch: on everything that has a GPU work, in the processes that are armed.
SEC("uprobe.multi")
int launch(void *unused) {
	u32 pid = process();
	struct count *c = map_lookup(&counts, &pid);
	if (!c || c->over)
		return 0;
	u64 now = ktime();
	__sync_fetch_and_add(&c->launches, 1);
	c->last = now;
	if (!c->woke && !__sync_lock_test_and_set(&c->woke, 1)) {
		c->cgroup = cgroup_id();
		tell(WOKE, pid, c->cgroup, now);
	}
	// Threads that meet at the turn of a second may count a few launches to the wrong
	// one. That is near enough for what it decides.
	if (now - c->window > SECOND) {
		c->window = now;
		c->burst = 0;
	}
	if (__sync_fetch_and_add(&c->burst, 1) == overrun) {
		c->over = 1;
		tell(OVERRUN, pid, c->cgroup, now);
	}
	return 0;
}

inline_always void gone(u32 pid) {
	// Both, not the one or the other: || would leave the second entry behind.
	int known = !map_delete(&started, &pid);
	known |= !map_delete(&counts, &pid);
	if (known)
		tell(EXITED, pid, cgroup_id(), ktime());
}

struct exit_args {
	u64 task;
	u64 group_dead; // since 6.16; an older kernel refuses to attach who reads it
};

// exit_last: on the end of a process's last thread.
SEC("raw_tracepoint")
int exit_last(struct exit_args *args) {
	if (args->group_dead & 1)
		gone(process());
	return 0;
}

// exit_leader: on the end of its first thread, which nearly always is the same.
SEC("raw_tracepoint")
int exit_leader(void *unused) {
	u64 id = pid_tgid();
	if ((u32)id == id >> 32)
		gone(id >> 32);
	return 0;
}
