package victimcosts

import muster "github.com/musterhq/muster/sdk/go"

//go:wasmexport muster_victim_costs
func export(batch uint32) uint32 { return muster.ServeVictims(muster.Arena(batch)) }
