package quota

import "github.com/musterhq/muster/builtin/amount"

// kept is quota that is not used and that nobody may take: that of victims which may yet
// stay where they are. It counts against what an account may hold at most, and for
// nothing else: their queue is not held to use it. So whoever stays finds its quota, and
// no account is ever above its max by it.
type kept struct {
	used []amount.Amount // account × r; shorter, or nil, where nothing was ever kept
	apps []int64         // per account, likewise
}

func (k *kept) amount(at int) amount.Amount {
	if at >= len(k.used) {
		return 0
	}
	return k.used[at]
}

func (k *kept) jobs(a Account) int64 {
	if int(a) >= len(k.apps) {
		return 0
	}
	return k.apps[a]
}

// Keep keeps n times req in every account of the chain; a negative n lets it go.
func (t *Tree) Keep(c Chain, req amount.List, n int64) {
	if more := len(t.used) - len(t.kept.used); more > 0 {
		t.kept.used = append(t.kept.used, make([]amount.Amount, more)...)
	}
	for _, a := range c {
		row := t.kept.used[int(a)*t.r:][:t.r]
		for _, e := range req {
			row[e.Dim] = row[e.Dim].Add(e.Amount.Mul(n))
		}
	}
}

// KeepApps keeps the place of a running job (1) in all its accounts, or lets it go (-1).
func (t *Tree) KeepApps(c Chain, n int64) {
	if more := len(t.apps) - len(t.kept.apps); more > 0 {
		t.kept.apps = append(t.kept.apps, make([]int64, more)...)
	}
	for _, a := range c {
		t.kept.apps[a] += n
	}
}

// Kept is what is kept of one resource in an account.
func (t *Tree) Kept(a Account, d amount.Dim) amount.Amount {
	return t.kept.amount(int(a)*t.r + int(d))
}

// KeptApps is the number of jobs whose place among the running ones is kept.
func (t *Tree) KeptApps(a Account) int64 { return t.kept.jobs(a) }
