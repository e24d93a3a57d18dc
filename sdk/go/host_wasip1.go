package muster

//go:wasmimport muster_v1 log
func hostLog(level int32, line string)

//go:wasmimport muster_v1 counter_add
func hostCount(id int32, n int64)
