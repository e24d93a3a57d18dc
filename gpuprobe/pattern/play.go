package pattern

import "time"

// All times here are since the start of the pod. Nothing is remembered: what a pod has
// done follows from its pattern and the time.

// at is the phase at a time, when it began, and its number, counted through repetitions.
// The moment in which a phase ends belongs to the next.
func (p *Pattern) at(t time.Duration) (k int, begin time.Duration) {
	if p.total > 0 {
		n := int(t / p.total)
		k, begin = n*len(p.phases), time.Duration(n)*p.total
	}
	for {
		ph := p.phase(k)
		if ph.length == 0 || t < begin+ph.length {
			return k, begin
		}
		begin += ph.length
		k++
	}
}

func (p *Pattern) phase(k int) *phase { return &p.phases[k%len(p.phases)] }

// ran is for how long a phase was on in its first d, hung or not.
func (ph *phase) ran(d time.Duration) time.Duration {
	if ph.share == 0 {
		return 0
	}
	return d/ph.period*ph.on + min(d%ph.period, ph.on)
}

// work is the time that a pod has used a whole GPU for until t, and launched is how much
// of it went through launches.
func (p *Pattern) work(t time.Duration) (work, launched time.Duration) {
	add := func(ph *phase, d time.Duration, times int64) {
		w := time.Duration(int64(ph.ran(d)) / 1000 * ph.share * times)
		work += w
		if !ph.hangs {
			launched += w
		}
	}
	last, begin := p.at(t)
	n := last / len(p.phases)
	for i := range p.phases {
		if n > 0 {
			add(&p.phases[i], p.phases[i].length, int64(n))
		}
	}
	for k := n * len(p.phases); k < last; k++ {
		add(p.phase(k), p.phase(k).length, 1)
	}
	add(p.phase(last), t-begin, 1)
	return work, launched
}

// Busy is the mean use over a window that ends at t, permille.
func (p *Pattern) Busy(t, window time.Duration) uint32 {
	from := max(0, t-window)
	if t <= from {
		return 0
	}
	now, _ := p.work(t)
	before, _ := p.work(from)
	return uint32(min(int64(now-before)*1000/int64(t-from), 1000))
}

// launchEvery is how often a pod launches a kernel while it computes.
const launchEvery = time.Millisecond

// Launches until t.
func (p *Pattern) Launches(t time.Duration) uint64 {
	_, launched := p.work(t)
	return uint64(launched / launchEvery)
}

// on says whether a phase does something d after it began.
func (ph *phase) isOn(d time.Duration) bool { return ph.share > 0 && d%ph.period < ph.on }

// HangsSince is when the kernel that runs at t and never ends was launched; not ok if
// none does.
func (p *Pattern) HangsSince(t time.Duration) (at time.Duration, ok bool) {
	k, begin := p.at(t)
	return begin, p.phase(k).hangs
}

// LastActive is when something ran last, at t at the latest; not ok if nothing ever did.
func (p *Pattern) LastActive(t time.Duration) (at time.Duration, ok bool) {
	k, begin := p.at(t)
	if ph := p.phase(k); ph.isOn(t - begin) {
		return t, true
	}
	end := t
	for tried := 0; k >= 0 && tried <= len(p.phases); tried++ {
		ph := p.phase(k)
		if ph.share > 0 && end > begin {
			// what is on at the beginning of each period was on until then at the latest
			d := end - begin
			start := d / ph.period * ph.period
			if start == d { // a period begins at the end, which is not ours any more
				start -= ph.period
			}
			return begin + start + min(ph.on, d-start), true
		}
		k--
		end = begin
		if k >= 0 {
			begin -= p.phase(k).length
		}
	}
	return 0, false
}

// NextWake is when the pod begins to do something after at least quiet of nothing, later
// than t; not ok if it never does.
func (p *Pattern) NextWake(t, quiet time.Duration) (at time.Duration, ok bool) {
	k, begin := p.at(t)
	for range 2*len(p.phases) + 2 {
		ph := p.phase(k)
		if at, ok := p.wakesIn(k, begin, t, quiet); ok {
			return at, true
		}
		if ph.length == 0 {
			return 0, false
		}
		begin += ph.length
		k++
	}
	return 0, false
}

// wakesIn looks for a wake-up later than t in one phase.
func (p *Pattern) wakesIn(k int, begin, t, quiet time.Duration) (at time.Duration, ok bool) {
	ph := p.phase(k)
	if ph.share == 0 {
		return 0, false
	}
	if begin > t && p.quietBefore(begin) >= quiet {
		return begin, true
	}
	if ph.on == ph.period || ph.period-ph.on < quiet {
		return 0, false
	}
	at = begin + ((max(t, begin)-begin)/ph.period+1)*ph.period
	return at, ph.length == 0 || at < begin+ph.length
}

// quietBefore is for how long nothing had run when a phase that does something began.
func (p *Pattern) quietBefore(begin time.Duration) time.Duration {
	if begin == 0 {
		return 0 // a start is not a wake-up
	}
	last, ok := p.LastActive(begin - 1)
	if !ok {
		return begin
	}
	return begin - last
}
