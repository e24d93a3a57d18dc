package push

import "time"

// A storm of edges is told in reports of at most edgeBurst at once and one every edgeEvery
// for ever: each has all that happened until then. The scheduler would read no faster.
const (
	edgeBurst = 10
	edgeEvery = 250 * time.Millisecond
)

// pace is a token bucket; owed is when all that was taken is paid for.
type pace struct{ owed int64 }

// wait takes a token, and says for how long it can't be used yet.
func (p *pace) wait(now int64) time.Duration {
	p.owed = max(p.owed, now) + int64(edgeEvery)
	return max(0, time.Duration(p.owed-now)-edgeBurst*edgeEvery)
}
