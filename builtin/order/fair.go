package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// maxUsers bounds the table of users, against a batch whose numbers are not dense.
const maxUsers = 1 << 24

// fair runs next a job of the user who has least: progressive filling (the order
// of dominant resource fairness, Ghodsi et al., NSDI 2011, with users of equal
// weight) over the whole batch at once. A user's share is UserShare plus the
// Dominant share of each of the user's jobs already taken in this ordering; ties
// go to the user whose next job is older. A user's own jobs stay in fifo order.
// Keys[0] is the position. O(N log users).
type fair struct {
	about
	users []userLine // by user number
	next  []int32    // next row of the same user, -1 at the end
	heap  []uint32   // users with jobs left; the least is at 0
}

// userLine is the line of one user's jobs: what the user has, and the first and
// last row still to be taken (-1 if none).
type userLine struct {
	share      amount.Amount
	head, tail int32
}

func (f *fair) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	if err := f.line(b); err != nil {
		return err
	}
	for i := len(f.heap)/2 - 1; i >= 0; i-- {
		f.sink(i)
	}
	keys := b.Keys[0][:b.N]
	for position := range int64(b.N) {
		u := &f.users[f.heap[0]]
		row := u.head
		keys[row] = position
		u.share = u.share.Add(amount.Amount(max(b.Dominant[row], 0)))
		u.head = f.next[row]
		if u.head < 0 {
			last := len(f.heap) - 1
			f.heap[0] = f.heap[last]
			f.heap = f.heap[:last]
		}
		f.sink(0)
	}
	b.NKeys = 1
	return nil
}

// line puts each row at the end of its user's line and each user on the heap.
func (f *fair) line(b *policies.JobBatch) error {
	n := uint32(0)
	for _, u := range b.User[:b.N] {
		if u >= maxUsers {
			return badInput("fair", policies.JobOrder, "user number %d is not dense", u)
		}
		n = max(n, u+1)
	}
	f.users = resized(f.users, int(n))
	for i := range f.users {
		f.users[i] = userLine{head: -1, tail: -1}
	}
	f.next = resized(f.next, b.N)
	f.heap = f.heap[:0]
	for i, user := range b.User[:b.N] {
		row, u := int32(i), &f.users[user]
		f.next[row] = -1
		if u.head < 0 {
			u.head, u.share = row, amount.Amount(max(b.UserShare[i], 0))
			f.heap = append(f.heap, user)
		} else {
			f.next[u.tail] = row
		}
		u.tail = row
	}
	return nil
}

func (f *fair) less(a, b uint32) bool {
	x, y := &f.users[a], &f.users[b]
	if x.share != y.share {
		return x.share < y.share
	}
	return x.head < y.head
}

// sink restores the heap below i.
func (f *fair) sink(i int) {
	for {
		least := 2*i + 1
		if least >= len(f.heap) {
			return
		}
		if r := least + 1; r < len(f.heap) && f.less(f.heap[r], f.heap[least]) {
			least = r
		}
		if !f.less(f.heap[least], f.heap[i]) {
			return
		}
		f.heap[i], f.heap[least] = f.heap[least], f.heap[i]
		i = least
	}
}
