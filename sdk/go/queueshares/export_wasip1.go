package queueshares

import muster "github.com/musterhq/muster/sdk/go"

//go:wasmexport muster_queue_shares
func export(batch uint32) uint32 { return muster.ServeQueues(muster.Arena(batch)) }
