//go:build linux && (amd64 || arm64)

package nvml

import (
	"slices"
)

// migOn says whether the GPU is in MIG mode now; one that can't be is not.
func (g *gpu) migOn() (bool, Error) {
	var current, pending uint32
	rc := g.d.migMode(g.handle, &current, &pending)
	if rc == ErrNotSupported || rc == ErrNoSymbol {
		return false, 0
	}
	return rc == 0 && current == featureEnabled, rc
}

func (g *gpu) MIG() ([]Device, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	if g.parent != nil {
		return nil, nil
	}
	now, rc := g.listInstances()
	if rc != 0 {
		return nil, rc
	}
	for _, old := range g.instances {
		if !slices.Contains(now, old) {
			old.forget()
		}
	}
	g.instances = now
	return devices(now), nil
}

// listInstances keeps those that were there before, with what they remember.
func (g *gpu) listInstances() ([]*gpu, Error) {
	on, rc := g.migOn()
	if !on {
		return nil, rc
	}
	var slots uint32
	if rc := g.d.migMax(g.handle, &slots); rc != 0 {
		return nil, rc
	}
	var now []*gpu
	for slot := range min(slots, 64) {
		var handle uintptr
		switch rc := g.d.migHandle(g.handle, slot, &handle); rc {
		case 0:
		case ErrNotFound, ErrInvalidArgument: // nothing in this slot
			continue
		default:
			return nil, rc
		}
		var gi, ci uint32
		if rc := g.d.gpuInstance(handle, &gi); rc != 0 {
			return nil, rc
		}
		if rc := g.d.computeInst(handle, &ci); rc != 0 {
			return nil, rc
		}
		now = append(now, g.instanceOf(handle, gi, ci))
	}
	return now, 0
}

func (g *gpu) instanceOf(handle uintptr, gi, ci uint32) *gpu {
	for _, old := range g.instances {
		if old.handle == handle && old.gi == gi && old.ci == ci {
			return old
		}
	}
	return &gpu{d: g.d, index: g.index, handle: handle, parent: g, gi: gi, ci: ci}
}

// instanceIdentity is what only an instance has.
func (g *gpu) instanceIdentity(id *Identity, name string) (bad Error) {
	parent, rc := g.parent.text(g.d.uuid)
	id.Parent = parent
	bad = worse(bad, rc)
	var pci pciInfo
	if g.d.pci(g.parent.handle, &pci) == 0 {
		id.PCI = text(pci.busID[:])
	}
	var a attributes
	rc = g.d.attributes(g.handle, &a)
	if rc == 0 && id.Memory == 0 {
		id.Memory = a.memoryMiB << 20
	}
	whole, _ := g.parent.memory()
	id.Profile = profile(name, a.giSlices, a.ciSlices, a.memoryMiB, whole.Total)
	return worse(bad, rc)
}

// peers are what is at the other ends of the links that are up: GPUs or switches.
func (g *gpu) peers() []string {
	var found []string
	for link := range uint32(maxLinks) {
		var up uint32
		rc := g.d.linkState(g.handle, link, &up)
		if rc == ErrInvalidArgument || rc == ErrNoSymbol || hard(rc) || rc != 0 && link == 0 {
			break
		}
		var pci pciInfo
		if rc != 0 || up != featureEnabled || g.d.linkPeer(g.handle, link, &pci) != 0 {
			continue
		}
		found = append(found, text(pci.busID[:]))
	}
	slices.Sort(found)
	return slices.Compact(found)
}
