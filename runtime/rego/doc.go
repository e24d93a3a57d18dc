// Package rego decides about the admission of jobs with rules written in Rego,
// evaluated by the Open Policy Agent's engine. It is the only package that
// imports OPA. Rego never scores: an evaluation costs tens of microseconds, so it
// has its place once per job, not in the order of thousands.
//
// The rules are those of package muster.admission, in Rego v1:
//
//	allow      must be defined: true admits, false refuses, undefined refuses
//	deny       set of messages; any one refuses, whatever allow says
//	queue      optional: the path of the queue to use instead of the job's
//	priority   optional: the priority, a whole number, to use instead
//
// The input is one job. Every field is always there:
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
