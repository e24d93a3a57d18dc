package usage

import (
	"maps"
	"sync"
)

// Stats are totals since the server was made, but for Streams.
type Stats struct {
	Streams  int // now
	Opened   uint64
	Replaced uint64            // streams that a newer one of the same node ended
	Renewed  uint64            // streams that were asked to come anew, and did
	Silent   uint64            // streams that were ended because nothing was heard
	Reports  uint64            // taken in
	Full     uint64            // of them
	Edges    uint64            // of them
	Gaps     uint64            // reports that came out of order: a full one was asked for
	Slowed   uint64            // reports that had to wait, as there were too many of one node
	Refused  map[string]uint64 // by reason
}

// counters are Stats that several goroutines count.
type counters struct {
	mu sync.Mutex
	Stats
}

func (c *counters) add(f func(s *Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.Stats)
}

// refused counts a refusal, and says whether it is the first of its reason.
func (c *counters) refused(code string) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Refused == nil {
		c.Refused = map[string]uint64{}
	}
	c.Refused[code]++
	return c.Refused[code] == 1
}

func (c *counters) read() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.Stats
	out.Refused = maps.Clone(c.Refused)
	return out
}
