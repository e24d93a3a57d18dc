// Package simulate plays nodes with GPUs: pods use them as their patterns say, faults
// happen when their script says, and each node's reports go to the scheduler through the
// client that the real agent uses (push). What a node says follows from its pods, its
// faults and the time alone.
//
// Thousands of nodes take one goroutine and one alarm, and those of their connections.
package simulate
