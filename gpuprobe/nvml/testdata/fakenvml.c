/* A libnvidia-ml for tests: known bytes in every structure, and the faults of a driver.
 *
 * Tests steer it through fake_set(index, key, value), which is no part of NVML; GPUs are
 * FAKE_GPUS. -DFAKE_OLD leaves out what old drivers lack, -DFAKE_VERSION=n is told by
 * nvmlSystemGetDriverVersion, so that a "new driver" is another file.
 *
 * A test that runs the library in another process tells it by a file, FAKE_NVML in the
 * environment, which processes do what on each GPU: see struct told.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
#include <time.h>

typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef FAKE_VERSION
#define FAKE_VERSION 580
#endif

enum { OK, UNINITIALIZED, INVALID, NOT_SUPPORTED, NO_PERMISSION, ALREADY, NOT_FOUND, TOO_SMALL,
       NOT_LOADED = 9, TIMEOUT = 10, LOST = 15, MISMATCH = 18, BAD_VERSION = 25 };

/* ---- what tests set ---- */

enum { GPUS = 8, KEYS = 32 };
enum { K_LOST, K_HANG, K_PROCESSES, K_GROW, K_INIT_RC, K_SAMPLES, K_MIG, K_NO_GPM, K_COUNT, K_STATUS_RC,
       K_RECOVERY, K_INCLUSIVE, K_SAMPLE_RC, K_EVENT_RC, K_FABRIC_V1, K_LIVE_SAMPLES, K_IDLE, K_NO_LINKS,
       K_EMPTY_SETS, K_VERSION_RC, K_MPS_RC };

static volatile long state[GPUS][KEYS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int inited, inside[GPUS], most_inside, sets;

void fake_set(u32 gpu, u32 key, long value) { state[gpu][key] = value; }
int fake_inits(void) { return inited; }
int fake_sets(void) { return sets; }
int fake_most_inside(void) { return most_inside; }

/* One for each GPU, in native byte order; percent of the SMs. When xid changes there is an
 * event, for those who listen then; mute says that recovery actions are not known. */
struct told { u32 busy, n; struct { u32 pid, sm; } processes[64]; u32 xid, mute; };
static const volatile struct told *told; /* 0 if nobody tells */
static u32 seen_xid[GPUS];

static __attribute__((constructor)) void listen_to_file(void) {
    const char *path = getenv("FAKE_NVML");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *m = mmap(0, GPUS * sizeof *told, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (m == MAP_FAILED) return;
    told = m;
    for (int i = 0; i < GPUS; i++) seen_xid[i] = told[i].xid;
}

/* ---- handles ---- */

struct device { u32 index; int mig; u32 gi, ci; };
static struct device gpus[GPUS];
static struct device migs[GPUS][2];

static int enter(struct device *d) {
    if (!inited) return UNINITIALIZED;
    if (!d) return INVALID;
    pthread_mutex_lock(&lock);
    if (++inside[d->index] > most_inside) most_inside = inside[d->index];
    pthread_mutex_unlock(&lock);
    while (state[d->index][K_HANG]) usleep(1000);
    pthread_mutex_lock(&lock);
    inside[d->index]--;
    pthread_mutex_unlock(&lock);
    return state[d->index][K_LOST] ? LOST : OK;
}
#define ENTER(d) do { int rc_ = enter(d); if (rc_) return rc_; } while (0)

/* ---- the system ---- */

int nvmlInit_v2(void) {
    if (state[0][K_INIT_RC]) return state[0][K_INIT_RC];
    for (u32 i = 0; i < GPUS; i++) {
        gpus[i] = (struct device){i, 0, 0xFFFFFFFF, 0xFFFFFFFF};
        migs[i][0] = (struct device){i, 1, 7, 0};
        migs[i][1] = (struct device){i, 1, 9, 1};
    }
    inited++;
    return OK;
}
int nvmlShutdown(void) { inited--; return OK; }
int nvmlSystemGetDriverVersion(char *text, u32 n) {
    if (state[0][K_VERSION_RC]) return state[0][K_VERSION_RC];
    snprintf(text, n, "%d.95.05", FAKE_VERSION);
    return OK;
}
int nvmlSystemGetNVMLVersion(char *text, u32 n) { snprintf(text, n, "13.%d.95.05", FAKE_VERSION); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return OK; }
int nvmlDeviceGetCount_v2(u32 *n) {
    if (state[0][K_VERSION_RC]) return state[0][K_VERSION_RC];
    *n = state[0][K_COUNT] ? state[0][K_COUNT] : GPUS;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(u32 i, struct device **d) {
    if (i >= GPUS) return INVALID;
    ENTER(&gpus[i]);
    *d = &gpus[i];
    return OK;
}

/* ---- what a GPU is ---- */

int nvmlDeviceGetUUID(struct device *d, char *text, u32 n) {
    ENTER(d);
    if (n < 96) return TOO_SMALL; /* a MIG UUID needs 96 */
    if (d->mig) snprintf(text, n, "MIG-%u-%u-%u", d->index, d->gi, d->ci);
    else snprintf(text, n, "GPU-%u", d->index);
    return OK;
}
int nvmlDeviceGetName(struct device *d, char *text, u32 n) {
    ENTER(d);
    snprintf(text, n, d->mig ? "NVIDIA H100 80GB HBM3 MIG 1g.10gb" : "NVIDIA H100 80GB HBM3");
    return OK;
}

struct pci { char legacy[16]; u32 domain, bus, device, chip, sub; char id[32]; };
_Static_assert(sizeof(struct pci) == 68, "nvmlPciInfo_t");

int nvmlDeviceGetPciInfo_v3(struct device *d, struct pci *p) {
    ENTER(d);
    if (d->mig) return NOT_SUPPORTED;
    memset(p, 0xAA, sizeof *p);
    snprintf(p->legacy, sizeof p->legacy, "%04X:%02X:00.0", 0, 0x18 + d->index);
    snprintf(p->id, sizeof p->id, "%08X:%02X:00.0", 0, 0x18 + d->index);
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(struct device *d, int *major, int *minor) {
    ENTER(d);
    *major = 9, *minor = 0;
    return OK;
}

struct memory { u64 total, free, used; };
struct memory2 { u32 version; u64 total, reserved, free, used; };
_Static_assert(sizeof(struct memory) == 24 && sizeof(struct memory2) == 40, "nvmlMemory_t");
static const u64 G = 1ull << 30;

int nvmlDeviceGetMemoryInfo(struct device *d, struct memory *m) {
    ENTER(d);
    *m = d->mig ? (struct memory){10 * G, 8 * G, 2 * G} : (struct memory){80 * G, 69 * G, 11 * G};
    return OK;
}
#ifndef FAKE_OLD
int nvmlDeviceGetMemoryInfo_v2(struct device *d, struct memory2 *m) {
    ENTER(d);
    if (m->version != 0x02000028) return BAD_VERSION;
    if (d->mig) { m->total = 10 * G, m->reserved = 0, m->free = 8 * G, m->used = 2 * G; return OK; }
    m->total = 80 * G, m->reserved = G, m->free = 69 * G, m->used = 10 * G;
    if (state[d->index][K_INCLUSIVE]) m->used += m->reserved; /* as nvml.h has it */
    return OK;
}
#endif

/* ---- what it does ---- */

struct rates { u32 gpu, memory; };
int nvmlDeviceGetUtilizationRates(struct device *d, struct rates *r) {
    ENTER(d);
    if (d->mig) return NOT_SUPPORTED;
    r->gpu = told ? told[d->index].busy : 42, r->memory = 7;
    return OK;
}

struct sample { u64 at; union { u32 u; u64 ull; double d; } v; };
_Static_assert(sizeof(struct sample) == 16, "nvmlSample_t");

/* Five samples at 1000, 2000 ... µs: 10, 20, 30, 40, 50 percent; K_SAMPLES moves them on. */
int nvmlDeviceGetSamples(struct device *d, u32 type, u64 since, u32 *kind, u32 *n, struct sample *s) {
    ENTER(d);
    if (d->mig || type != 1) return NOT_SUPPORTED;
    if (state[d->index][K_SAMPLE_RC]) return state[d->index][K_SAMPLE_RC];
    *kind = 1;
    if (told) return NOT_FOUND; /* then the rates above count */
    if (!s) { *n = 5; return OK; }
    u32 found = 0;
    for (u32 i = 0; i < 5; i++) {
        u64 at = (i + 1) * 1000 + state[d->index][K_SAMPLES];
        if (at <= since || found == *n) continue;
        s[found].v.ull = 0xAAAAAAAAAAAAAAAAull;
        s[found].at = at, s[found].v.u = (i + 1) * 10;
        found++;
    }
    *n = found;
    return found ? OK : NOT_FOUND;
}

struct process1 { u32 pid; u64 used; };
struct process2 { u32 pid; u64 used; u32 gi, ci; };
_Static_assert(sizeof(struct process1) == 16 && sizeof(struct process2) == 24, "nvmlProcessInfo_t");

/* How many there are; with K_GROW one more each time that the caller comes back with room
 * for what it was told, K_GROW times. */
static u32 population(struct device *d, u32 room) {
    if (told) return told[d->index].n;
    volatile long *grow = &state[d->index][K_GROW];
    if (room >= state[d->index][K_PROCESSES] && *grow > 0) {
        (*grow)--;
        state[d->index][K_PROCESSES] = room + 1;
    }
    return state[d->index][K_PROCESSES];
}

static __attribute__((unused)) int processes(struct device *d, u32 *n, struct process2 *p, u32 first) {
    ENTER(d);
    u32 there = population(d, *n);
    if (d->mig) there = there > 2 ? 2 : there;
    if (*n < there) { *n = there; return TOO_SMALL; }
    if (there && !p) return INVALID;
    for (u32 i = 0; i < there; i++) {
        p[i] = (struct process2){first + i, (u64)(i + 1) << 20, d->gi, d->ci};
        if (i == 1) p[i].used = ~0ull; /* not known */
        if (told) p[i].pid = told[d->index].processes[i].pid, p[i].used = 1ull << 29;
    }
    *n = there;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses(struct device *d, u32 *n, struct process1 *p) {
    ENTER(d);
    u32 there = state[d->index][K_PROCESSES];
    if (*n < there) { *n = there; return TOO_SMALL; }
    for (u32 i = 0; i < there; i++) p[i] = (struct process1){1000 + i, i == 1 ? ~0ull : (u64)(i + 1) << 20};
    *n = there;
    return OK;
}
#ifndef FAKE_OLD
int nvmlDeviceGetComputeRunningProcesses_v3(struct device *d, u32 *n, struct process2 *p) {
    return processes(d, n, p, 1000);
}
/* One client of MPS, which the list above has too, without its memory; one that draws. */
int nvmlDeviceGetMPSComputeRunningProcesses_v3(struct device *d, u32 *n, struct process2 *p) {
    ENTER(d);
    if (state[d->index][K_MPS_RC]) return state[d->index][K_MPS_RC];
    if (!state[d->index][K_PROCESSES]) { *n = 0; return OK; }
    if (*n < 1) { *n = 1; return TOO_SMALL; }
    *n = 1, p[0] = (struct process2){1000, ~0ull, d->gi, d->ci};
    return OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(struct device *d, u32 *n, struct process2 *p) {
    ENTER(d);
    if (d->mig) return NOT_SUPPORTED;
    if (!state[d->index][K_PROCESSES]) { *n = 0; return OK; }
    if (*n < 1) { *n = 1; return TOO_SMALL; }
    *n = 1, p[0] = (struct process2){77, 5 << 20, d->gi, d->ci};
    return OK;
}
#endif

struct use { u32 pid; u64 at; u32 sm, memory, encode, decode; };
_Static_assert(sizeof(struct use) == 32, "nvmlProcessUtilizationSample_t");

static int told_use(const volatile struct told *t, struct use *s, u32 *n, u64 since) {
    if (!s || *n < t->n) { *n = t->n + 1; return TOO_SMALL; }
    u32 found = 0;
    for (u32 i = 0; i < t->n; i++)
        if (t->processes[i].sm) s[found++] = (struct use){t->processes[i].pid, since + 1000, t->processes[i].sm, 5, 0, 0};
    *n = found;
    return found ? OK : NOT_FOUND;
}

/* Two samples of each process, 30 and 50 percent of the SMs, 5 of memory; at the times of
 * K_SAMPLES, or with K_LIVE_SAMPLES always new ones. */
int nvmlDeviceGetProcessUtilization(struct device *d, struct use *s, u32 *n, u64 since) {
    ENTER(d);
    if (d->mig || state[d->index][K_MIG]) return NOT_SUPPORTED;
    if (state[d->index][K_IDLE]) return NOT_FOUND;
    if (told) return told_use(&told[d->index], s, n, since);
    u64 base = state[d->index][K_SAMPLES] + (state[d->index][K_LIVE_SAMPLES] ? since : 0);
    u32 there = 2 * state[d->index][K_PROCESSES], found = 0;
    if (!s || *n < there) { *n = there; return TOO_SMALL; }
    for (u32 i = 0; i < there; i++) {
        u64 at = base + 1000 * (i % 2 + 1);
        if (at > since) s[found++] = (struct use){1000 + i / 2, at, i % 2 ? 50 : 30, 5, 0, 0};
    }
    *n = found;
    return found ? OK : NOT_FOUND;
}

/* ---- how it is ---- */

int nvmlDeviceGetPowerUsage(struct device *d, u32 *v) {
    ENTER(d);
    if (d->mig) return NOT_SUPPORTED;
    if (state[d->index][K_STATUS_RC]) return state[d->index][K_STATUS_RC];
    *v = 123456;
    return OK;
}
int nvmlDeviceGetClockInfo(struct device *d, u32 kind, u32 *v) {
    ENTER(d);
    if (d->mig || kind != 1) return NOT_SUPPORTED;
    *v = 1980;
    return OK;
}
int nvmlDeviceGetTemperature(struct device *d, u32 kind, u32 *v) {
    ENTER(d);
    if (d->mig || kind != 0) return NOT_SUPPORTED;
    *v = 57;
    return OK;
}
#ifdef FAKE_OLD
int nvmlDeviceGetCurrentClocksThrottleReasons(struct device *d, u64 *v) { ENTER(d); *v = 1; return OK; }
#else
int nvmlDeviceGetCurrentClocksEventReasons(struct device *d, u64 *v) {
    ENTER(d);
    if (d->mig) return NOT_SUPPORTED;
    *v = 0x8000000000000040ull;
    return OK;
}
int nvmlDeviceGetRemappedRows(struct device *d, u32 *corr, u32 *unc, u32 *pending, u32 *failed) {
    ENTER(d);
    if (d->mig) return NOT_SUPPORTED;
    *corr = 3, *unc = 1, *pending = 1, *failed = 0;
    return OK;
}

struct field { u32 id, scope; long long at, latency; u32 kind, rc; union { u32 u; u64 ull; } v; };
_Static_assert(sizeof(struct field) == 40, "nvmlFieldValue_t");

int nvmlDeviceGetFieldValues(struct device *d, int n, struct field *f) {
    ENTER(d);
    for (int i = 0; i < n; i++) {
        f[i].at = 1, f[i].latency = 2, f[i].kind = 1, f[i].v.ull = 0xAAAAAAAAAAAAAAAAull;
        f[i].rc = f[i].id == 230 && !d->mig && !(told && told[d->index].mute) ? OK : NOT_SUPPORTED;
        f[i].v.u = state[d->index][K_RECOVERY];
    }
    return OK;
}

/* ---- links and fabric: link 0 and 2 to GPU (index+1), 1 is down, 3 to a switch ---- */

int nvmlDeviceGetNvLinkState(struct device *d, u32 link, u32 *up) {
    ENTER(d);
    if (state[d->index][K_NO_LINKS]) return NOT_SUPPORTED;
    if (link > 3) return INVALID;
    *up = link != 1;
    return OK;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct device *d, u32 link, struct pci *p) {
    ENTER(d);
    if (link > 3) return INVALID;
    memset(p, 0xAA, sizeof *p);
    snprintf(p->id, sizeof p->id, "%08X:%02X:00.0", 0, link == 3 ? 0x07 : 0x18 + (d->index + 1) % GPUS);
    return OK;
}

struct fabric { unsigned char cluster[16]; int status; u32 clique; unsigned char state; };
struct fabric2 { u32 version; unsigned char cluster[16]; int status; u32 clique; unsigned char state; u32 health; };
_Static_assert(sizeof(struct fabric) == 28 && sizeof(struct fabric2) == 36, "nvmlGpuFabricInfo_t");

int nvmlDeviceGetGpuFabricInfoV(struct device *d, struct fabric2 *f) {
    ENTER(d);
    if (f->version != 0x02000024 || state[d->index][K_FABRIC_V1]) return BAD_VERSION;
    for (int i = 0; i < 16; i++) f->cluster[i] = i + 1;
    f->status = OK, f->clique = 4711, f->state = 3, f->health = 0xAAAAAAAA;
    return OK;
}
int nvmlDeviceGetGpuFabricInfo(struct device *d, struct fabric *f) {
    ENTER(d);
    for (int i = 0; i < 16; i++) f->cluster[i] = i + 1;
    f->status = OK, f->clique = 12, f->state = 3;
    return OK;
}
#endif

/* ---- MIG: instances in the slots 0 and 2 of 7 ---- */

int nvmlDeviceGetMigMode(struct device *d, u32 *current, u32 *pending) {
    ENTER(d);
    *current = *pending = state[d->index][K_MIG] != 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(struct device *d, u32 *n) { ENTER(d); *n = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(struct device *d, u32 slot, struct device **mig) {
    ENTER(d);
    if (slot != 0 && (slot != 2 || state[d->index][K_MIG] < 2)) return NOT_FOUND;
    *mig = &migs[d->index][slot / 2];
    return OK;
}
int nvmlDeviceGetGpuInstanceId(struct device *d, u32 *id) { ENTER(d); *id = d->gi; return d->mig ? OK : NOT_SUPPORTED; }
int nvmlDeviceGetComputeInstanceId(struct device *d, u32 *id) { ENTER(d); *id = d->ci; return d->mig ? OK : NOT_SUPPORTED; }

struct attributes { u32 sms, copy, dec, enc, jpeg, ofa, gi, ci; u64 mib; };
_Static_assert(sizeof(struct attributes) == 40, "nvmlDeviceAttributes_t");
int nvmlDeviceGetAttributes_v2(struct device *d, struct attributes *a) {
    ENTER(d);
    if (!d->mig) return NOT_SUPPORTED;
    *a = (struct attributes){16, 1, 1, 0, 1, 0, 1, 1, 9856};
    return OK;
}

/* ---- GPM ---- */

#ifndef FAKE_OLD
struct support { u32 version, supported; };
struct metric { u32 id; int rc; double value; char *names[3]; };
struct get { u32 version, n; void *a, *b; struct metric metrics[333]; };
_Static_assert(sizeof(struct metric) == 40, "nvmlGpmMetric_t");

struct room { int used; u32 gpu, gi; long taken; };
static struct room rooms[64];
static long ticks;

int nvmlGpmQueryDeviceSupport(struct device *d, struct support *s) {
    ENTER(d);
    if (s->version != 1) return BAD_VERSION;
    s->supported = !state[d->index][K_NO_GPM];
    return OK;
}
int nvmlGpmSampleAlloc(void **p) {
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < 63 && rooms[i].used) i++;
    rooms[i] = (struct room){.used = 1};
    pthread_mutex_unlock(&lock);
    *p = &rooms[i];
    return OK;
}
int nvmlGpmSampleFree(struct room *r) { if (!r->used) return INVALID; r->used = 0; return OK; }
int fake_rooms(void) { int n = 0; for (int i = 0; i < 64; i++) n += rooms[i].used; return n; }
static int take(struct device *d, u32 gi, struct room *r) {
    ENTER(d);
    if (!r->used) return INVALID;
    r->gpu = d->index, r->gi = gi, r->taken = __sync_add_and_fetch(&ticks, 1);
    return OK;
}
int nvmlGpmSampleGet(struct device *d, struct room *r) { return d->mig ? INVALID : take(d, 0, r); }
int nvmlGpmMigSampleGet(struct device *d, u32 gi, struct room *r) { return d->mig ? INVALID : take(d, gi, r); }
/* 61.25 percent of a GPU, 10 + gi of an instance */
int nvmlGpmMetricsGet(struct get *g) {
    struct room *a = g->a, *b = g->b;
    if (g->version != 1) return BAD_VERSION;
    if (!a->used || !b->used || a->taken >= b->taken || a->gpu != b->gpu || a->gi != b->gi) return INVALID;
    for (u32 i = 0; i < g->n; i++) {
        g->metrics[i].rc = g->metrics[i].id == 2 ? OK : NOT_SUPPORTED;
        g->metrics[i].value = a->gi ? 10 + a->gi : 61.25;
    }
    return OK;
}
#else
int fake_rooms(void) { return 0; }
#endif

/* ---- events ---- */

struct event { struct device *d; u64 kind, data; u32 gi, ci; };
_Static_assert(sizeof(struct event) == 32, "nvmlEventData_t");
struct set { int used; u64 kinds[GPUS]; };
static struct set set;
static struct event queue[64];
static int queued;
static pthread_cond_t arrived;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void make_cond(void) {
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&arrived, &a);
}

void fake_event(u32 gpu, u64 kind, u64 data, u32 gi, u32 ci) {
    pthread_once(&once, make_cond);
    pthread_mutex_lock(&lock);
    if (set.kinds[gpu] & kind && queued < 64) {
        queue[queued++] = (struct event){&gpus[gpu], kind, data, gi, ci};
        pthread_cond_signal(&arrived);
    }
    pthread_mutex_unlock(&lock);
}
u64 fake_registered(u32 gpu) { return set.kinds[gpu]; }

int nvmlEventSetCreate(struct set **s) {
    pthread_once(&once, make_cond);
    sets++;
    memset(&set, 0, sizeof set);
    set.used = 1;
    *s = &set;
    return OK;
}
int nvmlEventSetFree(struct set *s) { s->used = 0; sets--; return OK; }
int nvmlDeviceGetSupportedEventTypes(struct device *d, u64 *kinds) {
    ENTER(d);
    *kinds = state[d->index][K_EMPTY_SETS] ? 0 : 0x8 | 0x1 | 0x2 | 0x4 | 0x10 | 0x8000;
    return OK;
}
int nvmlDeviceRegisterEvents(struct device *d, u64 kinds, struct set *s) {
    ENTER(d);
    if (kinds & ~0x801Full) return NOT_SUPPORTED;
    s->kinds[d->index] |= kinds;
    return OK;
}
static int wait_told(struct set *s, struct event *e, u32 ms) {
    for (u32 waited = 0;; waited += 100) {
        for (int i = 0; i < GPUS; i++) {
            u32 xid = told[i].xid;
            if (xid == seen_xid[i] || !(s->kinds[i] & 8)) continue;
            seen_xid[i] = xid;
            *e = (struct event){&gpus[i], 8, xid, 0xFFFFFFFF, 0xFFFFFFFF};
            return OK;
        }
        if (waited >= ms) return TIMEOUT;
        usleep(100000);
    }
}
static int wait_event(struct set *s, struct event *e, u32 ms, int whole) {
    if (state[0][K_EVENT_RC]) return state[0][K_EVENT_RC];
    if (!s->used) return INVALID;
    if (told && whole) return wait_told(s, e, ms);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000, until.tv_nsec += ms % 1000 * 1000000l;
    if (until.tv_nsec >= 1000000000l) until.tv_sec++, until.tv_nsec -= 1000000000l;
    pthread_mutex_lock(&lock);
    while (!queued && !pthread_cond_timedwait(&arrived, &lock, &until));
    int rc = TIMEOUT;
    if (queued) {
        memcpy(e, &queue[0], whole ? sizeof *e : 24);
        memmove(queue, queue + 1, --queued * sizeof *queue);
        rc = OK;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
#ifdef FAKE_OLD
int nvmlEventSetWait(struct set *s, struct event *e, u32 ms) { return wait_event(s, e, ms, 0); }
#else
int nvmlEventSetWait_v2(struct set *s, struct event *e, u32 ms) { return wait_event(s, e, ms, 1); }
#endif
