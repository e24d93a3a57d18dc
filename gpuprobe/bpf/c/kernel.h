// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What the programs need of the kernel's interface, and no more: system headers don't
// compile with -target bpf, and a vmlinux.h would be 100,000 lines. The numbers are those
// of <linux/bpf.h>, fixed for ever by the kernel's promise to user space.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define inline_always static inline __attribute__((always_inline))

// A map is told to the loader as types: numbers as lengths of arrays.
#define map_number(name, value) int (*name)[value]
#define map_type(name, value) typeof(value) *name

enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_RINGBUF = 27 };
enum { ANY = 0, NOEXIST = 1 };

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const map_delete)(void *map, const void *key) = (void *)3;
static u64 (*const ktime)(void) = (void *)5; // ns, CLOCK_MONOTONIC
static u64 (*const pid_tgid)(void) = (void *)14;
static u64 (*const current_task)(void) = (void *)35;
static u64 (*const current_cgroup)(void) = (void *)80;
static long (*const read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*const ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
