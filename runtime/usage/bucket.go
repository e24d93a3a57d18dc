package usage

import "github.com/musterhq/muster/builtin/spec"

// A node may send reportBurst reports at once, and one every reportEvery for ever. Who
// sends more is read more slowly, so that the flood waits in its own memory.
const (
	reportBurst = 20
	reportEvery = 200 * millisecond
)

// bucket is a token bucket: owed is when all that was taken is paid for.
type bucket struct{ owed spec.Time }

// take takes one token, and returns the time at which it may be used.
func (b *bucket) take(now spec.Time) (at spec.Time) {
	b.owed = max(b.owed, now) + reportEvery
	return max(now, b.owed-reportBurst*reportEvery)
}
