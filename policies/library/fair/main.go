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

// line is what a user has, and their jobs that are left.
type line struct {
	share       int64
	first, last int32 // row + 1 of the next and of the last job, 0 if none is left
}

// Scratch space, kept so that a call allocates nothing.
var (
	lines []line  // by user
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
	lines, after, queue = muster.Grow(lines, users), muster.Grow(after, b.N), muster.Grow(queue, users)
	ls, q := lines, lineUp(b)
	for i := len(q)/2 - 1; i >= 0; i-- {
		down(ls, q, i)
	}
	for position := range int64(b.N) {
		l := &ls[q[0]]
		row := l.first - 1
		b.Key0[row] = position
		l.share = add(l.share, max(b.Dominant[row], 0))
		if l.first = after[row]; l.first == 0 {
			q[0] = q[len(q)-1]
			q = q[:len(q)-1]
		}
		down(ls, q, 0)
	}
	return nil
}

// lineUp puts each job at the end of its user's line, and returns the users.
func lineUp(b *joborder.Batch) []int32 {
	q := queue[:0]
	for i, u := range b.User {
		l := &lines[u]
		if l.first == 0 {
			l.first, l.share = int32(i+1), max(b.UserShare[i], 0)
			q = append(q, int32(u))
		} else {
			after[l.last-1] = int32(i + 1)
		}
		l.last = int32(i + 1)
	}
	return q
}

// add adds two amounts that are not negative, up to the largest there is.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// before says whether user a is to be served before user b.
func before(a, b *line) bool {
	if a.share != b.share {
		return a.share < b.share
	}
	return a.first < b.first
}

// down moves the user at place i of the heap to where they belong: those who are
// before them move up.
func down(ls []line, q []int32, i int) {
	if i >= len(q) {
		return
	}
	user := q[i]
	l := &ls[user]
	for {
		c := 2*i + 1
		if c >= len(q) {
			break
		}
		least := &ls[q[c]]
		if c+1 < len(q) {
			if right := &ls[q[c+1]]; before(right, least) {
				c, least = c+1, right
			}
		}
		if !before(least, l) {
			break
		}
		q[i] = q[c]
		i = c
	}
	q[i] = user
}
