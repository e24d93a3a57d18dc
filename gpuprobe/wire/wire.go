// Package wire is what a node's probe tells the scheduler, as protocol buffers over gRPC
// (report.proto). It is all that the scheduler knows of the probe.
package wire

//go:generate ../../tools/proto.sh gpuprobe/wire/report.proto
