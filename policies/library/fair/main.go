// Command fair is a job order: next comes a job of the user who has least. It is the
// twin of the built-in fair, and an example of a policy that looks at the whole
// batch at once.
//
// A user has the share that their running jobs hold, plus the shares of those of
// their jobs that this order has already taken (progressive filling, as in dominant
// resource fairness, Ghodsi et al., NSDI 2011). Ties go to the user whose next job
// is older. The jobs of one user stay in fifo order.
package main

import (
	"math"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/joborder"
)

func init() { joborder.Register(leastFirst) }

func main() {}

// maxUsers bounds the tables, against a batch whose user numbers are not dense.
const maxUsers = 1 << 24

// Scratch space, kept so that a call allocates nothing.
var (
	share []int64 // by user: what the user has
	first []int32 // by user: row + 1 of the next job, 0 if none is left
	last  []int32 // by user: row + 1 of the last job
	after []int32 // by row: row + 1 of the same user's next job, 0 at the end
	queue []int32 // heap of users with jobs left, the one who is next in front
)

func leastFirst(b *joborder.Batch) error {
	users := 0
	for _, u := range b.User {
		if u >= maxUsers {
			return muster.ErrBadInput
		}
		users = max(users, int(u)+1)
	}
	share, first, last = muster.Grow(share, users), muster.Grow(first, users), muster.Grow(last, users)
	after, queue = muster.Grow(after, b.N), muster.Grow(queue, users)[:0]
	for i, u := range b.User {
		if first[u] == 0 {
			first[u], share[u] = int32(i+1), max(b.UserShare[i], 0)
			queue = append(queue, int32(u))
		} else {
			after[last[u]-1] = int32(i + 1)
		}
		last[u] = int32(i + 1)
	}
	for i := len(queue)/2 - 1; i >= 0; i-- {
		down(i)
	}
	for position := range int64(b.N) {
		u := queue[0]
		row := first[u] - 1
		b.Key0[row] = position
		share[u] = add(share[u], max(b.Dominant[row], 0))
		if first[u] = after[row]; first[u] == 0 {
			queue[0] = queue[len(queue)-1]
			queue = queue[:len(queue)-1]
		}
		down(0)
	}
	return nil
}

// add adds two amounts that are not negative, up to the largest there is.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// before says whether user a is to be served before user b.
func before(a, b int32) bool {
	if share[a] != share[b] {
		return share[a] < share[b]
	}
	return first[a] < first[b]
}

// down moves the user at place i of the heap to where they belong.
func down(i int) {
	for {
		next := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(queue); c++ {
			if before(queue[c], queue[next]) {
				next = c
			}
		}
		if next == i {
			return
		}
		queue[i], queue[next] = queue[next], queue[i]
		i = next
	}
}
