package cycle

import (
	"fmt"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/victim"
)

// kindProtection is what a trail calls protection rules.
const kindProtection = "protection"

// protect asks the rules which candidates of a leaf must stay. Rules that fail protect
// all of them: nobody is evicted because of a mistake in a rule.
func (c *cycle) protect(leaf quota.Q, units []victim.Candidate) []string {
	c.candidates = c.candidates[:0]
	for i := range units {
		u := &units[i]
		c.candidates = append(c.candidates, Candidate{
			Job: u.Job.Spec, Queue: c.w.Quota.Queues[leaf].Path, Tasks: int64(len(u.Tasks)), GPUMilli: u.GPUMilli,
			Running: u.Running, Lost: u.Lost, Evicted: u.Job.Evicted, Surplus: u.Surplus, Leader: u.Leader,
			Use: u.Use, Idle: u.Idle, Now: c.now,
		})
	}
	use := c.policies.named(kindProtection, "rules", c.set.Protection.Digest())
	use.Calls++
	use.Rows += len(units)
	reasons, err := c.reasons(c.candidates)
	if err != nil {
		reasons = c.protectAll(use, reasons, len(units), err)
	}
	for _, why := range reasons {
		if why != "" {
			use.Protected++
		}
	}
	return reasons
}

func (c *cycle) reasons(units []Candidate) (reasons []string, err error) {
	if p, ok := c.set.Protection.(CheckedProtection); ok {
		reasons, err = p.Protect(c.ctx, units)
	} else {
		reasons = c.set.Protection.Protected(c.ctx, units)
	}
	if err == nil && len(reasons) != len(units) {
		err = fmt.Errorf("%d answers for %d candidates", len(reasons), len(units))
	}
	return reasons, err
}

// protectAll keeps the reasons that the rules gave in spite of their failure.
func (c *cycle) protectAll(use *plan.PolicyUse, given []string, n int, err error) []string {
	use.Fallbacks++
	if use.Failure == "" {
		use.Fallback, use.Code, use.Failure = "everybody stays", "error", err.Error()
		c.event(plan.EventProtectionFailed, nil, fmt.Sprintf("the protection rules failed (%v); nobody they were asked about is evicted", err))
	}
	reasons := make([]string, n)
	for i := range reasons {
		if len(given) == n && given[i] != "" {
			reasons[i] = given[i]
			continue
		}
		reasons[i] = "the protection rules failed: " + err.Error()
	}
	return reasons
}
