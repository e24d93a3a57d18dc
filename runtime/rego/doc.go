// Package rego decides with rules written in Rego v1, evaluated by the Open Policy
// Agent's engine. It is the only package that imports OPA. Rego never scores: an
// evaluation costs tens of microseconds, so it has its place once per job, and once
// per list of victims, not in the order of thousands.
//
// A folder or bundle may hold rules for any of four decisions, each in a package of
// its own, beside packages with helpers.
//
// Package muster.admission: may a job run? Asked once for each job.
//
//	allow      must be defined: true admits, false refuses, undefined refuses
//	deny       set of messages; any one refuses, whatever allow says
//	queue      optional: the path of the queue to use instead of the job's
//	priority   optional: the priority, a whole number, to use instead
//
// Package muster.placement: where may it run? Asked after admission.
//
//	gpu_types  set of the GPU types that the job may use; undefined allows all
//	nodes      object of node label keys to sets of values: a node needs one of them
//	           for each key; undefined allows all nodes
//	deny       set of messages; any one refuses the job
//
// Package muster.protection: what must not be evicted? All candidates of a queue are
// asked about in one evaluation. Rules that fail protect everything.
//
//	protect[i] set of reasons why input.units[i] must stay
//
// Package muster.loading: may this policy be loaded? allow and deny, as in admission.
//
// The input of admission and placement is one job. Every field is always there:
//
//	input.job.id           text
//	input.job.queue        path, "root.research.llm"; empty if the job names none
//	input.job.user         text
//	input.job.groups       array of texts
//	input.job.priority     whole number, higher is more important
//	input.job.gpus         GPUs of all tasks at full size, 0.5 for half a device
//	input.job.gpu_types    array of the types that the tasks name, sorted; empty for any
//	input.job.resources    object of name to amount of all tasks: cores, bytes, GPUs, counts
//	input.job.size, .min   tasks in all, and those that must start together
//	input.job.labels       object of texts
//	input.job.duration_s   declared run time in seconds, 0 if none was declared
//	input.job.preemptible  true or false
//
// The input of protection is an array of units, a unit being a whole gang or one
// surplus task, and the time:
//
//	input.units[i].job         a job, with the fields above
//	input.units[i].queue       path of its queue
//	input.units[i].tasks       tasks of the unit
//	input.units[i].gpus        GPUs that it holds
//	input.units[i].running_s   seconds since it started
//	input.units[i].lost_gpu_s  GPU-seconds that an eviction would lose
//	input.units[i].evicted     times the job was preempted so far
//	input.units[i].surplus     true if the job goes on without the unit
//	input.units[i].leader      true for the head of a Ray cluster and its like
//	input.units[i].use_known   true if the use of its GPUs is measured
//	input.units[i].use         part of its GPUs that is busy, 0 to 1; 1 if not known
//	input.units[i].idle_s      seconds for which it did nothing; 0 if not known
//	input.now_s                time of the cycle in seconds
//
// The input of loading is the policy:
//
//	input.policy.name, .version, .source, .digest   texts; a source has its kind
//	                       before it: file:order.wasm, oci:host/order:1.2
//	input.policy.by        who asks
//	input.policy.signers   names of the keys whose signatures hold
//	input.policy.kinds     job_order, queue_shares, victim_costs, rules
//
// The data is whatever the operator loads with the rules. In Rego what is
// undefined quietly makes its rule vanish, also a deny. So Load refuses a field
// that the input does not have and a data document that is not there, both by
// name and place; a call that fails is a refusal; and an empty deny set alone
// never admits: allow has to be true. What cannot be checked ahead is a key that
// is computed, data.limits[input.job.queue]: write object.get with a default, or
// let allow depend on it.
//
// Rules are a function of the job and the data: the network, the clock, chance
// and the environment are not available to them.
package rego
