// Package metrics exposes a scheduler to Prometheus. Labels are queues, resources, rules,
// policies and reason codes, which a configuration bounds, never jobs, users or nodes.
// Amounts are in whole GPUs and cores, bytes and counts.
package metrics

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/runtime/serve/view"
	"github.com/musterhq/muster/runtime/usage"
)

// Options of the metrics.
type Options struct {
	// Version and Revision are those of the program.
	Version, Revision string
	// Acted is what became of plans outside; nil is not told.
	Acted func() Acted
	// Probed counts what probes have reported (usage.Server); nil is not told.
	Probed func() usage.Stats
	// Used counts what came of what nodes said of pods and GPUs; nil is not told.
	Used func() Used
}

// Used are an adapter's totals since the process began.
type Used struct {
	Measured    uint64 // measurements taken in for a pod
	Strangers   uint64 // passed over, as their pod is not known (yet, or any more)
	Unrequested uint64 // pods that used a GPU which they did not ask for
	Evicted     uint64 // pods evicted from GPUs that failed
	HandedOut   uint64 // times a node gave pods a GPU that was known to have failed
}

// Acted are an adapter's totals since the process began.
type Acted struct {
	Binds, BindFailures      uint64 // pods
	Evictions, EvictFailures uint64
	Notices                  uint64
	Waiting                  int // actions that are queued or under way
	// BindSeconds is how long binds took, from the decision to the answer of the API server.
	BindSeconds Histogram
}

// Histogram are observations by upper bounds, each count including the lower ones.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}

// New returns a registry of its own with everything about a source.
func New(s *view.Source, o Options) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	duration := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "muster_cycle_duration_seconds", Help: "Time from the beginning of a scheduling cycle until its plan was committed and handed on.",
		Buckets: prometheus.ExponentialBuckets(50e-6, 2.5, 14), NativeHistogramBucketFactor: 1.1,
	})
	held := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "muster_cycle_held_seconds_total", Help: "Time for which posts of events and swaps of policies kept cycles from beginning.",
	})
	s.Recorder.Observe(func(c view.Cycle) {
		duration.Observe(max(0, c.Seconds))
		held.Add(max(0, c.Held))
	})
	reg.MustRegister(duration, held, &collector{s, o},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Handler answers /metrics.
func Handler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, ErrorHandling: promhttp.ContinueOnError})
}

// collector reads the last snapshot and the recorder when it is asked.
type collector struct {
	source *view.Source
	o      Options
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("muster_"+name, help, labels, nil)
}

var (
	buildInfo = desc("build_info", "Which Muster this is; the value is 1.", "version", "revision")
	leading   = desc("leader", "Whether this process decides.")
	paused    = desc("paused", "Whether decisions are held back because the cluster can't be reached.")
	degraded  = desc("guarantees_degraded", "Whether the pool is smaller than its guarantees, so that each counts in proportion.")
	capacity  = desc("pool_capacity", "What the pool has.", "resource")
	nodes     = desc("nodes", "Nodes by state: open, cordoned, reserved.", "state")

	queueGuaranteed = desc("queue_guaranteed", "Guarantee of a queue as configured.", "queue", "resource")
	queueEffective  = desc("queue_effective_guaranteed", "Part of a queue's guarantee that the pool can keep now.", "queue", "resource")
	queueMax        = desc("queue_max", "What a queue may use at most.", "queue", "resource")
	queueUsed       = desc("queue_used", "What a queue uses.", "queue", "resource")
	queuePending    = desc("queue_pending", "What tasks that wait in a queue ask for.", "queue", "resource")
	queueBorrowed   = desc("queue_borrowed", "What a queue uses above its effective guarantee.", "queue", "resource")
	queueEntitled   = desc("queue_entitled", "What the fairness policy says that a queue should hold.", "queue", "resource")
	queueShare      = desc("queue_share_ratio", "Largest part of the pool that a queue uses, over resources.", "queue")
	queueRunning    = desc("queue_running_jobs", "Jobs of a queue that hold something.", "queue")
	queueWaiting    = desc("queue_waiting_jobs", "Jobs of a queue with tasks that wait.", "queue")
	waitingReason   = desc("waiting_jobs", "Jobs with tasks that wait, by leaf queue and reason.", "queue", "reason")

	queueAllocated = desc("queue_gpus_allocated", "GPUs that a queue uses, as far as its quota goes.", "queue")
	queueBusy      = desc("queue_gpus_busy", "GPUs of a queue that do something, as if of such as always do.", "queue")
	queueIdle      = desc("queue_gpus_idle", "GPUs of a queue that have done nothing for five minutes or longer.", "queue")
	queueUnknown   = desc("queue_gpus_unknown", "GPUs of a queue of which nobody knows what they do.", "queue")
	gpuUnhealthy   = desc("gpu_unhealthy", "GPUs that are not as they should, by state: degraded, failed, unresponsive.", "state")
	gpuUnasked     = desc("gpu_unrequested", "GPUs that somebody uses to whom they were not given.")
	probeNodes     = desc("probe_nodes", "Nodes with GPUs by the state of their probe: connected, stale, none.", "state")
	probeReports   = desc("probe_reports_total", "Reports of probes that were taken in.")
	probeRefused   = desc("probe_reports_refused_total", "Reports and streams of probes that were refused.", "reason")
	podsMeasured   = desc("pod_measurements_total", "Measurements of a pod's GPUs that were taken in.")
	podsUnknown    = desc("pod_measurements_of_strangers_total", "Measurements that were passed over, as their pod is not known: not yet, or not any more.")
	podsUnasked    = desc("pods_unrequested_gpu_total", "Pods that were found to use a GPU which they did not ask for.")
	gpuEvictions   = desc("failed_gpu_evictions_total", "Pods evicted from GPUs that failed.")
	gpuHandedOut   = desc("failed_gpu_handouts_total", "Times that a node gave pods a GPU that was known to have failed.")
	withdrawn      = desc("evictions_withdrawn_total", "Evictions of idle jobs that were taken back: they woke, what they do is unknown, or nobody needs their place.", "reason")

	cycles      = desc("cycles_total", "Scheduling cycles.")
	events      = desc("events_total", "Events taken in.")
	refused     = desc("events_refused_total", "Events that made no sense.")
	stale       = desc("stale_units_total", "Units of plans that events overtook.")
	started     = desc("tasks_started_total", "Tasks that were decided to start.")
	claimed     = desc("tasks_claimed_total", "Tasks for which places were claimed while victims leave them.")
	preemptions = desc("preemptions_total", "Victim units evicted, by rule: reclaim, straddle, priority.", "rule")
	notable     = desc("notable_events_total", "Notable events of cycles by code.", "code")

	policyCalls       = desc("policy_calls_total", "Calls of a policy.", "kind", "name")
	policyRows        = desc("policy_rows_total", "Rows that a policy was asked about.", "kind", "name")
	policyFuel        = desc("policy_fuel_total", "Fuel that the calls of a policy used.", "kind", "name")
	policyFallbacks   = desc("policy_fallbacks_total", "Calls of a policy that the built-in had to answer.", "kind", "name")
	policyFaults      = desc("policy_strikes_total", "Calls of the active version of a policy that the host had to stop.", "name")
	policyQuarantined = desc("policy_quarantined", "Whether the active version of a policy is not asked for a while.", "name")
	policyInfo        = desc("policy_info", "The active version of a loaded policy; the value is 1.", "name", "version", "digest")

	binds         = desc("binds_total", "Binds that the API server took.")
	bindFailures  = desc("bind_failures_total", "Binds that failed for good.")
	bindSeconds   = desc("bind_duration_seconds", "Time from the decision to the API server's answer.")
	evictions     = desc("evictions_total", "Pods evicted.")
	evictFailures = desc("eviction_failures_total", "Evictions that failed for good.")
	notices       = desc("eviction_notices_total", "Pods told that they will be evicted.")
	actsWaiting   = desc("actions_waiting", "Actions that are queued or under way.")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildInfo, leading, paused, degraded, capacity, nodes, queueGuaranteed, queueEffective, queueMax, queueUsed, queuePending,
		queueBorrowed, queueEntitled, queueShare, queueRunning, queueWaiting, waitingReason, cycles, events, refused, stale, started,
		claimed, preemptions, notable, policyCalls, policyRows, policyFuel, policyFallbacks, policyFaults, policyQuarantined, policyInfo,
		binds, bindFailures, bindSeconds, evictions, evictFailures, notices, actsWaiting,
		queueAllocated, queueBusy, queueIdle, queueUnknown, gpuUnhealthy, gpuUnasked, probeNodes, probeReports, probeRefused, withdrawn,
		podsMeasured, podsUnknown, podsUnasked, gpuEvictions, gpuHandedOut,
	} {
		ch <- d
	}
}

// sink sends metrics.
type sink chan<- prometheus.Metric

func (ch sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (ch sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Collect implements prometheus.Collector. A process that stands by has no world: it
// tells its counters alone.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	ch := sink(metrics)
	ch.gauge(buildInfo, 1, c.o.Version, c.o.Revision)
	ch.gauge(leading, truth(c.source.Leader().Leading))
	c.collectCounts(ch)
	c.collectPolicies(ch)
	c.collectActed(ch)
	c.collectProbed(ch)
	c.collectUsed(ch)
	s, err := c.source.Snapshot(context.Background())
	if err != nil {
		return
	}
	c.collectPool(ch, s)
	collectGPUs(ch, s)
	for i := range s.Queues {
		collectQueue(ch, &s.Queues[i])
		collectMeasured(ch, &s.Queues[i])
	}
	collectReasons(ch, s)
}

func (c *collector) collectCounts(ch sink) {
	n := c.source.Recorder.Counts()
	ch.counter(cycles, float64(n.Turns))
	ch.counter(events, float64(n.Events))
	ch.counter(refused, float64(n.Refused))
	ch.counter(stale, float64(n.Stale))
	ch.counter(started, float64(n.Binds))
	ch.counter(claimed, float64(n.Claims))
	for rule, v := range n.Evictions {
		ch.counter(preemptions, float64(v), string(rule))
	}
	for reason, v := range n.Stays {
		ch.counter(withdrawn, float64(v), reason)
	}
	for code, v := range n.EventCodes {
		ch.counter(notable, float64(v), code)
	}
}

func (c *collector) collectPool(ch sink, s *view.Snapshot) {
	ch.gauge(paused, truth(s.Pool.Paused != ""))
	ch.gauge(degraded, truth(s.Pool.Degraded))
	for name, v := range s.Pool.Capacity {
		ch.gauge(capacity, natural(name, v), name)
	}
	states := map[string]int{"open": 0, "cordoned": 0, "reserved": 0}
	for i := range s.Nodes {
		switch n := &s.Nodes[i]; {
		case n.Cordoned:
			states["cordoned"]++
		case n.ReservedFor != "":
			states["reserved"]++
		default:
			states["open"]++
		}
	}
	for state, n := range states {
		ch.gauge(nodes, float64(n), state)
	}
}

// natural turns base units into whole GPUs and cores.
func natural(resource string, v int64) float64 {
	if resource == amount.CPUName || amount.IsGPU(resource) {
		return float64(v) / 1000
	}
	return float64(v)
}

func collectQueue(ch sink, q *view.Queue) {
	ch.gauge(queueShare, q.Share, q.Path)
	ch.gauge(queueRunning, float64(q.RunningJobs), q.Path)
	ch.gauge(queueWaiting, float64(q.PendingJobs), q.Path)
	for _, r := range q.Resources {
		optional := func(d *prometheus.Desc, v *int64) {
			if v != nil {
				ch.gauge(d, natural(r.Resource, *v), q.Path, r.Resource)
			}
		}
		optional(queueGuaranteed, r.Guaranteed)
		optional(queueEffective, r.Effective)
		optional(queueMax, r.Max)
		optional(queueEntitled, r.Entitled)
		optional(queueUsed, &r.Used)
		optional(queuePending, &r.Pending)
		optional(queueBorrowed, &r.Borrowed)
	}
}

func collectReasons(ch sink, s *view.Snapshot) {
	type key struct{ queue, reason string }
	count := map[key]int{}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		if !j.State.Waits() {
			continue
		}
		k := key{j.Queue, "not-tried"}
		if j.Reason != nil {
			k.reason = j.Reason.Code
		}
		count[k]++
	}
	for k, n := range count {
		ch.gauge(waitingReason, float64(n), k.queue, k.reason)
	}
}

func (c *collector) collectPolicies(ch sink) {
	type key struct{ kind, name string }
	sums := map[key]view.PolicyUse{}
	for _, u := range c.source.Recorder.Policies() { // versions of one name are summed
		s := sums[key{u.Kind, u.Name}]
		s.Calls, s.Rows, s.Fuel, s.Fallbacks = s.Calls+u.Calls, s.Rows+u.Rows, s.Fuel+u.Fuel, s.Fallbacks+u.Fallbacks
		sums[key{u.Kind, u.Name}] = s
	}
	for k, s := range sums {
		ch.counter(policyCalls, float64(s.Calls), k.kind, k.name)
		ch.counter(policyRows, float64(s.Rows), k.kind, k.name)
		ch.counter(policyFuel, float64(s.Fuel), k.kind, k.name)
		ch.counter(policyFallbacks, float64(s.Fallbacks), k.kind, k.name)
	}
	for _, p := range c.source.Loaded().Policies {
		if p.Active == nil {
			continue
		}
		ch.gauge(policyInfo, 1, p.Name, p.Active.Version, p.Active.Digest)
		ch.gauge(policyQuarantined, truth(p.Active.Until > 0), p.Name)
		if p.Active.Calls != nil {
			ch.counter(policyFaults, float64(p.Active.Calls.Faults), p.Name)
		}
	}
}

func (c *collector) collectActed(ch sink) {
	if c.o.Acted == nil {
		return
	}
	a := c.o.Acted()
	ch.counter(binds, float64(a.Binds))
	ch.counter(bindFailures, float64(a.BindFailures))
	ch.counter(evictions, float64(a.Evictions))
	ch.counter(evictFailures, float64(a.EvictFailures))
	ch.counter(notices, float64(a.Notices))
	ch.gauge(actsWaiting, float64(a.Waiting))
	ch <- prometheus.MustNewConstHistogram(bindSeconds, a.BindSeconds.Count, a.BindSeconds.Sum, a.BindSeconds.Buckets)
}
