package agent

// A driver that is loaded again counts its GPUs anew: one that is lost is not in its list,
// and those behind it move up. So after that each says who it is before anything else that
// it says is taken, and what is known of it moves to its place.

// seat sees to it that what is known at a reading's place is of the GPU that it is of. It
// says false if it can't be: the GPU does not say who it is, or says that it is one which
// another is as well.
func (a *Agent) seat(r *reading) bool {
	s := a.slots[r.slot]
	if r.identity == nil || r.identity.UUID == "" {
		return !s.restarted
	}
	uuid := r.identity.UUID
	if s.whole == nil || s.nameless || s.whole.UUID != uuid {
		if old := a.placeOf(uuid); old != nil {
			if old.named == a.gen && old.device != nil {
				return false
			}
			s.trade(old)
		} else if s.whole != nil && !s.nameless {
			old = &slot{}
			a.slots = append(a.slots, old)
			s.trade(old)
		}
		a.leave()
	}
	s.named = a.gen
	return true
}

// placeOf is the slot of a GPU that has said who it is, nil if there is none.
func (a *Agent) placeOf(uuid string) *slot {
	for _, s := range a.slots {
		if s.whole != nil && !s.nameless && s.whole.UUID == uuid {
			return s
		}
	}
	return nil
}

// trade has two GPUs change places. What has been said of a place without a device is that
// the driver does not know its GPU.
func (s *slot) trade(o *slot) {
	s.restarted, o.restarted = o.restarted, s.restarted
	s.sameDriver, o.sameDriver = o.sameDriver, s.sameDriver
	s.whole, o.whole = o.whole, s.whole
	s.nameless, o.nameless = o.nameless, s.nameless
	s.health, o.health = o.health, s.health
	s.instances, o.instances = o.instances, s.instances
	for _, p := range []*slot{s, o} {
		p.mig, p.migAt, p.odd = nil, 0, nil
		p.stale()
		if p.device == nil && p.whole != nil {
			p.health.missing()
		}
	}
}

// leave drops places at the end where there is nothing any more.
func (a *Agent) leave() {
	for n := len(a.slots); n > 0 && a.slots[n-1].device == nil && a.slots[n-1].whole == nil; n-- {
		a.slots = a.slots[:n-1]
	}
}
