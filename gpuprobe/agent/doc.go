// Package agent measures a node: it asks NVML in sweeps, listens to eBPF's edges, finds the
// pods behind the processes, and makes of all that one State after another.
//
// One goroutine (Run) owns everything the agent knows. Whatever may block (a driver that
// hangs, a kubelet that is slow, probes being attached) happens on other goroutines, which
// send it what they found. So an edge never waits for a sweep.
package agent
