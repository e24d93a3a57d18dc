package joborder

import muster "github.com/musterhq/muster/sdk/go"

//go:wasmexport muster_job_order
func export(batch uint32) uint32 { return muster.ServeJobs(muster.Arena(batch)) }
