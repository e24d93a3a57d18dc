package demo

import (
	"fmt"
	"io"
	"strings"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/sim"
)

// verdict prints how the story ended and whether each promise was kept.
func (p *player) verdict(res *sim.Result) bool {
	out := p.view.out()
	p.table(out)
	kept := true
	line := func(ok bool, when, text, failure string) {
		kept = kept && ok
		word := p.view.paint(green, "  ok  ")
		if !ok {
			word = p.view.paint(red, "  FAIL")
			text += ": " + failure
		}
		fmt.Fprintf(out, "%s  %-12s %s\n", word, when, text)
	}
	for _, promise := range p.story.promises {
		ok, failure := promise.kept()
		line(ok, clock(promise.from)+"-"+clock(promise.to), promise.text, failure)
	}
	if p.story.swaps() {
		ok, failure := p.swapped()
		line(ok, clock(p.story.swapAt), fmt.Sprintf("%s orders jobs until the swap, then %s; no cycle used both",
			p.story.first.Name, p.story.next.Name), failure)
	}
	calls, failure := answered(res.Policies)
	line(failure == "", "always", fmt.Sprintf("the Wasm policies answered all of their %d calls themselves", calls), failure)
	if len(res.Refused) > 0 {
		line(false, "always", "every event of the story made sense", res.Refused[0].Error())
	}
	fmt.Fprintln(out)
	return kept
}

// table is what each queue holds at the end of the story.
func (p *player) table(out io.Writer) {
	fmt.Fprintf(out, "\nAt the end of the story (%s h), in GPUs:\n", clock(p.story.trace.End))
	width := p.story.nameWidth()
	row := func(name, guaranteed, limit, used, busy string) {
		line := fmt.Sprintf("  %-*s %10s %6s %6s", width, name, guaranteed, limit, used)
		if p.story.measured {
			line += fmt.Sprintf(" %12s", busy)
		}
		fmt.Fprintln(out, line)
	}
	row("queue", "guaranteed", "max", "used", "really busy")
	for i, q := range p.now.queues {
		row(p.story.names[i], gpus(q.guaranteed), gpus(q.max), gpus(q.used), q.busyText())
	}
	fmt.Fprintln(out, "\nPromises:")
}

// swapped says whether the first order decided until the swap and the second from
// then on.
func (p *player) swapped() (bool, string) {
	o := p.orders
	if len(o) != 2 {
		return false, fmt.Sprintf("%d policies ordered the jobs", len(o))
	}
	before, after := p.story.first, p.story.next
	switch {
	case o[0].info != before.Name+" "+before.Digest || o[1].info != after.Name+" "+after.Digest:
		return false, "they were " + o[0].info + " and " + o[1].info
	case o[0].last >= p.story.swapAt || o[1].first < p.story.swapAt:
		return false, fmt.Sprintf("the first decided until %s, the second from %s", clock(o[0].last), clock(o[1].first))
	}
	return true, ""
}

// answered counts the calls of all policies; failure tells of one that a built-in
// had to answer, or of a policy that is no Wasm.
func answered(uses []plan.PolicyUse) (calls int, failure string) {
	for _, u := range uses {
		calls += u.Calls
		switch {
		case u.Fallbacks > 0:
			failure = fmt.Sprintf("%s failed %d times (%s)", u.Name, u.Fallbacks, u.Failure)
		case !strings.HasPrefix(u.Digest, "sha256:"):
			failure = fmt.Sprintf("%s was decided by %s, which is %s", u.Kind, u.Name, u.Digest)
		}
	}
	if calls == 0 {
		failure = "none was asked"
	}
	return calls, failure
}

// policyLines say who decides, for the picture.
func (p *player) policyLines() []string {
	var out []string
	for _, k := range []struct {
		kind policies.Kind
		what string
	}{{policies.JobOrder, "job order"}, {policies.QueueShares, "queue shares"}, {policies.VictimCosts, "victim costs"}} {
		line := fmt.Sprintf("%-13s not asked yet", k.what)
		if u := p.calls[k.kind.String()]; u != nil {
			line = fmt.Sprintf("%-13s %-25s %6d calls", k.what, identity(u), u.Calls)
		}
		if k.kind == policies.JobOrder && len(p.orders) > 1 {
			line += ", since " + clock(p.story.swapAt)
		}
		out = append(out, line)
	}
	return out
}

// identity is name@version and the beginning of the digest.
func identity(u *plan.PolicyUse) string {
	name := u.Name
	if u.Version != "" {
		name += "@" + u.Version
	}
	digest, isHash := strings.CutPrefix(u.Digest, "sha256:")
	if isHash && len(digest) > 8 {
		digest = digest[:8]
	}
	return name + " " + digest
}

// percentOf is used of all in whole percent.
func percentOf(used, all int64) int64 {
	if all == 0 {
		return 0
	}
	return used * 100 / all
}

func timeLine(at, end spec.Time) string { return clock(at) + " / " + clock(end) + " h" }
