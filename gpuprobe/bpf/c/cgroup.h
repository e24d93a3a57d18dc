// SPDX-License-Identifier: MIT OR GPL-2.0-only
// cgroup_id is the inode of the cgroup directory of the process that runs: in the unified
// hierarchy (v2), or with -DCGROUP_V1 in that of the v1 memory controller.
#pragma once

#include "kernel.h"

#ifndef CGROUP_V1

inline_always u64 cgroup_id(void) { return current_cgroup(); }

#else

// Parts of kernel structs. The loader replaces every offset by that of the running
// kernel, as its BTF tells it.
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernfs_node {
	u64 id;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct css_set {
	struct cgroup_subsys_state *subsys[1];
};
struct task_struct {
	struct css_set *cgroups;
};
#pragma clang attribute pop

// Which place a controller has differs by how the kernel was built.
enum cgroup_subsys_id { memory_cgrp_id = 0 };

#define read_field(to, from, field) read_kernel(&(to), sizeof(to), &(from)->field)

inline_always u64 cgroup_id(void) {
	struct task_struct *task = (void *)current_task();
	struct css_set *set = 0;
	struct cgroup_subsys_state *state = 0;
	struct cgroup *group = 0;
	struct kernfs_node *node = 0;
	u64 id = 0;
	u64 memory = __builtin_preserve_enum_value(*(enum cgroup_subsys_id *)memory_cgrp_id, 1);
	if (read_field(set, task, cgroups))
		return 0;
	const u8 *places = (const u8 *)&set->subsys;
	if (read_kernel(&state, sizeof(state), places + memory * sizeof(state)) ||
	    read_field(group, state, cgroup) || read_field(node, group, kn))
		return 0;
	read_field(id, node, id);
	return id;
}

#endif
