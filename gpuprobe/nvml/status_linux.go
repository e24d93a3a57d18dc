//go:build linux && (amd64 || arm64)

package nvml

import "errors"

func (g *gpu) Status() (Status, error) {
	if err := g.enter(); err != nil {
		return Status{}, err
	}
	defer g.leave()
	var (
		s                       Status
		milliwatts, clock, heat uint32
		reasons                 uint64
		corrected, uncorrected  uint32
		pending, failed         uint32
		bad                     Error
		recovery                = fieldValue{field: fieldRecovery}
		yes                     = func(rc Error) bool { bad = worse(bad, rc); return rc == 0 }
	)
	if yes(g.d.power(g.handle, &milliwatts)) {
		s.PowerMilliwatts = &milliwatts
	}
	if yes(g.d.clock(g.handle, clockSM, &clock)) {
		s.SMClockMHz = &clock
	}
	if yes(g.d.temperature(g.handle, temperatureGPU, &heat)) {
		s.TemperatureC = &heat
	}
	if yes(g.d.clockReasons(g.handle, &reasons)) {
		s.Throttle = &reasons
	}
	if yes(g.d.remapped(g.handle, &corrected, &uncorrected, &pending, &failed)) {
		s.RemapPending, s.RemapFailed = flag(pending), flag(failed)
	}
	if yes(g.d.fields(g.handle, 1, &recovery)) && yes(Error(recovery.rc)) {
		if action, ok := number(recovery.kind, recovery.value); ok && action <= 0xFFFF {
			s.Recovery = ref(uint32(action))
		}
	}
	return s, bad.orNil()
}

// worse keeps the first error that is of the whole GPU.
func worse(bad, rc Error) Error {
	if bad == 0 && hard(rc) {
		return rc
	}
	return bad
}

func flag(v uint32) *bool { return ref(v != 0) }

func ref[T any](v T) *T { return &v }

func (g *gpu) Identity() (Identity, error) {
	if err := g.enter(); err != nil {
		return Identity{Index: g.index, GI: -1, CI: -1}, err
	}
	defer g.leave()
	return g.identity()
}

// identity needs the UUID; the rest is left out if the driver does not tell.
func (g *gpu) identity() (Identity, error) {
	id := Identity{Index: g.index, GI: instance(g.gi), CI: instance(g.ci)}
	var rc Error
	if id.UUID, rc = g.text(g.d.uuid); rc != 0 {
		return id, rc
	}
	name, nameRC := g.text(g.d.name)
	id.Product = name
	m, memoryErr := g.memory()
	id.Memory = m.Total
	var major, minor int32
	capabilityRC := g.d.capability(g.handle, &major, &minor)
	if capabilityRC == 0 {
		id.Major, id.Minor = int(major), int(minor)
	}
	bad := worse(nameRC, capabilityRC)
	if e := Error(0); errors.As(memoryErr, &e) {
		bad = worse(bad, e)
	}
	if g.parent != nil {
		bad = worse(bad, g.instanceIdentity(&id, name))
	} else {
		bad = worse(bad, g.wholeIdentity(&id))
	}
	if !hard(bad) {
		bad = 0
	}
	return id, bad.orNil()
}

// wholeIdentity is what only a whole GPU has.
func (g *gpu) wholeIdentity(id *Identity) (bad Error) {
	var pci pciInfo
	rc := g.d.pci(g.handle, &pci)
	if rc == 0 {
		id.PCI = text(pci.busID[:])
	}
	bad = worse(bad, rc)
	on, rc := g.migOn()
	id.MIGEnabled = on
	bad = worse(bad, rc)
	id.Clique = g.clique()
	id.Peers = g.peers()
	return bad
}

func (g *gpu) text(ask func(uintptr, *byte, uint32) Error) (string, Error) {
	var buffer [96]byte
	rc := ask(g.handle, &buffer[0], uint32(len(buffer)))
	if rc != 0 {
		return "", rc
	}
	return text(buffer[:]), 0
}

func (g *gpu) clique() string {
	v2 := fabricV2{version: fabricVersion2}
	rc := g.d.fabric(g.handle, &v2)
	if rc == 0 {
		return clique(v2.state, v2.status, v2.cluster, v2.id)
	}
	var v1 fabricV1
	if rc != ErrNoSymbol && rc != ErrArgumentVersion || g.d.fabricV1(g.handle, &v1) != 0 {
		return ""
	}
	return clique(v1.state, v1.status, v1.cluster, v1.id)
}
