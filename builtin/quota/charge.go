package quota

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Chain is the accounts that a job's tasks are charged to: first the queues from
// the leaf up to the root, then the user's account in the leaf, then limits.
type Chain []Account

// ChainFor lists the accounts of a job in a leaf queue, making those of users
// and limits that are new.
func (t *Tree) ChainFor(leaf Q, job *spec.Job) Chain {
	var c Chain
	for q := leaf; q != None; q = t.Queues[q].Parent {
		c = append(c, Account(q))
	}
	c = append(c, t.userIn(leaf, job.User))
	for q := leaf; q != None; q = t.Queues[q].Parent {
		c = t.appendLimits(c, q, job)
	}
	if job.NonPreemptible {
		for q := leaf; q != None; q = t.Queues[q].Parent {
			c = append(c, t.Queues[q].nonPreemptible)
		}
	}
	return c
}

// User interns a user name.
func (t *Tree) User(name string) int32 {
	if u, ok := t.users[name]; ok {
		return u
	}
	u := int32(len(t.userNames))
	t.users[name] = u
	t.userNames = append(t.userNames, name)
	return u
}

func (t *Tree) userIn(leaf Q, user string) Account {
	key := userKey{leaf, t.User(user)}
	a, ok := t.userAccounts[key]
	if !ok {
		a = t.addAccount(leaf, userAccount, user)
		t.userAccounts[key] = a
	}
	return a
}

// appendLimits adds the accounts of the limits of one queue that bind a job. Of
// the user limits the first that names the user holds, else the wildcard; the
// same for the job's groups, where the wildcard is one pool for everybody.
func (t *Tree) appendLimits(c Chain, q Q, job *spec.Job) Chain {
	limits := t.Queues[q].Spec.Limits
	if i := matching(limits, func(l spec.Limit) []string { return l.Users }, []string{job.User}); i >= 0 {
		c = append(c, t.limit(q, i, userLimitAccount, job.User))
	}
	if i := matching(limits, func(l spec.Limit) []string { return l.Groups }, job.Groups); i >= 0 {
		who := "*"
		for _, g := range limits[i].Groups {
			if slices.Contains(job.Groups, g) {
				who = g
				break
			}
		}
		c = append(c, t.limit(q, i, groupLimitAccount, who))
	}
	return c
}

func matching(limits []spec.Limit, names func(spec.Limit) []string, of []string) int {
	wild := -1
	for i, l := range limits {
		for _, n := range names(l) {
			if slices.Contains(of, n) {
				return i
			}
			if n == "*" && wild < 0 {
				wild = i
			}
		}
	}
	return wild
}

func (t *Tree) limit(q Q, index int, kind accountKind, who string) Account {
	key := limitKey{q, index<<1 | int(kind&1), who}
	a, ok := t.limitAccounts[key]
	if !ok {
		l := t.Queues[q].Spec.Limits[index]
		a = t.addAccount(q, kind, who)
		t.setMax(a, l.Max)
		t.most[a] = l.MaxApps
		t.mostAny = t.mostAny || l.MaxApps > 0
		t.limitAccounts[key] = a
	}
	return a
}

// Charge adds n times req to every account of the chain; a negative n refunds.
// It does not check: see Fits.
func (t *Tree) Charge(c Chain, req amount.List, n int64) {
	for _, a := range c {
		row := t.used[int(a)*t.r:][:t.r]
		for _, e := range req {
			if n == 1 {
				row[e.Dim] = row[e.Dim].Add(e.Amount)
			} else {
				row[e.Dim] = row[e.Dim].Add(e.Amount.Mul(n))
			}
		}
	}
}

// ChargeApps counts a job that starts (1) or ends (-1) in all its accounts.
func (t *Tree) ChargeApps(c Chain, n int64) {
	for _, a := range c {
		t.apps[a] += n
	}
}

// Block is why an account has no room.
type Block struct {
	Account Account
	Dim     amount.Dim
	Used    amount.Amount
	Max     amount.Amount
	Need    amount.Amount
	TooMany bool // running jobs, not resources: Used, Max and Need are job counts
	Blocked bool // false: there is room
	Forever bool // Need alone is more than Max
}

// Fits checks whether n times req can be charged to every account of the chain.
// Only the resources that req mentions are compared. The first account without
// room is told, queues from the leaf upward first. What is kept (see Keep) counts as
// used.
func (t *Tree) Fits(c Chain, req amount.List, n int64) (b Block) {
	for _, a := range c {
		if !t.bounded[a] {
			continue
		}
		base := int(a) * t.r
		for _, e := range req {
			need := e.Amount
			if n != 1 {
				need = need.Mul(n)
			}
			m := t.max[base+int(e.Dim)]
			if m == amount.Max {
				continue
			}
			if u := t.used[base+int(e.Dim)].Add(t.kept.amount(base + int(e.Dim))); u.Add(need) > m {
				return Block{Account: a, Dim: e.Dim, Used: u, Max: m, Need: need, Blocked: true, Forever: need > m}
			}
		}
	}
	return Block{}
}

// AppsFit checks whether one more job may run in every account of the chain.
func (t *Tree) AppsFit(c Chain) Block {
	if !t.mostAny {
		return Block{}
	}
	for _, a := range c {
		if m, n := t.most[a], t.apps[a]+t.kept.jobs(a); m > 0 && n+1 > m {
			return Block{Account: a, Used: amount.Amount(n), Max: amount.Amount(m), Need: 1, TooMany: true, Blocked: true}
		}
	}
	return Block{}
}

// WithinGuarantee says whether a queue, with n times req more, still holds no
// more than its guarantee. Only resources that req mentions and that the queue
// is guaranteed are compared, and at least one must be.
func (t *Tree) WithinGuarantee(q Q, req amount.List, n int64) bool {
	any := false
	base := int(q) * t.r
	for _, e := range req {
		g := t.effective[base+int(e.Dim)]
		if g == Unset || e.Amount == 0 {
			continue
		}
		if t.used[base+int(e.Dim)].Add(e.Amount.Mul(n)) > g {
			return false
		}
		any = true
	}
	return any
}

// Excess is how much more than its guarantee a queue holds of one resource; all
// it holds where nothing is guaranteed.
func (t *Tree) Excess(q Q, d amount.Dim) amount.Amount {
	g := t.effective[int(q)*t.r+int(d)]
	return t.used[int(q)*t.r+int(d)].Sub(max(0, g))
}

// Describe names an account for people: its queue, and the user or group.
func (t *Tree) Describe(a Account) (queue, kind, who string) {
	queue = t.Queues[t.of[a]].Path
	switch t.kind[a] {
	case userLimitAccount:
		return queue, "user", t.who[a]
	case groupLimitAccount:
		return queue, "group", t.who[a]
	case nonPreemptibleAccount:
		return queue, "non-preemptible", ""
	default:
		return queue, "queue", ""
	}
}

// UserShare is the largest share of the pool, over resources, that a user holds
// in a leaf.
func (t *Tree) UserShare(leaf Q, user string) amount.Share {
	a, ok := t.userAccounts[userKey{leaf, t.User(user)}]
	if !ok {
		return 0
	}
	return t.Dominant(t.Used(a))
}

// Dominant is the largest share of the pool over the resources of a row.
func (t *Tree) Dominant(row []amount.Amount) amount.Share {
	var s amount.Share
	for d, a := range row {
		if t.capacity[d] > 0 {
			s = max(s, amount.ShareOf(a, t.capacity[d]))
		}
	}
	return s
}

// Path lists the queues from q up to the root.
func (t *Tree) Path(q Q) []Q {
	var p []Q
	for ; q != None; q = t.Queues[q].Parent {
		p = append(p, q)
	}
	return p
}

// Below returns the ancestor of q (or q itself) that is a child of top, and None
// if q is not below top.
func (t *Tree) Below(q, top Q) Q {
	for q != None && t.Queues[q].Parent != top {
		q = t.Queues[q].Parent
	}
	return q
}

// CommonAncestor is the lowest queue that has both a and b in its subtree.
func (t *Tree) CommonAncestor(a, b Q) Q {
	for a != b {
		if t.Queues[a].Depth < t.Queues[b].Depth {
			a, b = b, a
		}
		a = t.Queues[a].Parent
	}
	return a
}
