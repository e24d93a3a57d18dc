package live

import (
	"sync"

	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
)

// names tell people which job or queue a row of a shadow's report is. They are written by
// the loop's goroutine and read by the shadow's.
type names struct {
	mu     sync.Mutex
	jobs   map[uint64]string // by Job.Serial
	queues []string          // by row of a QueueBatch, which is the queue's place in the tree
}

// maxNames bounds what is kept: a report tells of what was asked of late.
const maxNames = 1 << 16

// observe notes the jobs that wait.
func (n *names) observe(w *world.World) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.jobs == nil || len(n.jobs) > maxNames {
		n.jobs = map[uint64]string{}
	}
	n.queues = n.queues[:0]
	for q := range w.Quota.Queues {
		n.queues = append(n.queues, w.Quota.Queues[q].Path)
		for _, j := range w.PendingIn(quota.Q(q)) {
			n.jobs[j.Serial] = j.Spec.ID
		}
	}
}

// job names a job; "" if it is not known.
func (n *names) job(serial uint64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.jobs[serial]
}

// queue names a queue by its row.
func (n *names) queue(row int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if row < 0 || row >= len(n.queues) {
		return ""
	}
	return n.queues[row]
}
