package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/order"
	kinds "github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/client"
	"github.com/musterhq/muster/runtime/serve/view"
)

// all is a list without pages.
var all = url.Values{"limit": {fmt.Sprint(serve.MaxLimit)}}

// Scheduler asks a scheduler how it is, and how its nodes' probes are.
func Scheduler(ctx context.Context, c *client.Client, now func() time.Time) ([]Check, error) {
	var pool view.Pool
	before := now()
	m, err := c.Get(ctx, "/pool", nil, &pool)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return unanswered(ctx, c, err), nil
	}
	checks := append(poolChecks(c, m, &pool), clock("clock", "the scheduler", m.Date, before, now()))
	probes := func(ctx context.Context, c *client.Client) ([]Check, error) { return probes(ctx, c, pool.ProbeWire) }
	policies := func(ctx context.Context, c *client.Client) ([]Check, error) { return policies(ctx, c, pool.PolicyABI) }
	for _, look := range []func(context.Context, *client.Client) ([]Check, error){policies, probes, gpus} {
		more, err := look(ctx, c)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			more = unanswered(ctx, c, err)
		}
		checks = append(checks, more...)
	}
	return checks, nil
}

// unanswered says why the scheduler could not be asked. One that stands by or starts says more
// where kubelets ask.
func unanswered(ctx context.Context, c *client.Client, err error) []Check {
	var told *serve.Error
	if !errors.As(err, &told) {
		return []Check{fail("scheduler", "start it with `muster scheduler`, forward its port (`kubectl port-forward -n muster-system svc/muster 9070`), or name it with --server or MUSTER_SERVER", "%v", err)}
	}
	out := []Check{fail("scheduler", told.Hint, "%s answers: %v", c.Server(), err)}
	if told.Code != "standby" && told.Code != "not-ready" {
		return out
	}
	switch ready, why, err := c.Ready(ctx); {
	case err != nil:
		return append(out, skip("ready", "is there a proxy that keeps /readyz from you?", "%v", err))
	case !ready:
		return append(out, fail("ready", "until then it can't lead; where the queues are missing or refused, mend them (`muster check config` finds the places)", "/readyz says: %s", why))
	default:
		return append(out, ok("ready", "/readyz says: %s", why))
	}
}

func poolChecks(c *client.Client, m client.Meta, p *view.Pool) (out []Check) {
	if m.Stale {
		out = append(out, warn("scheduler", "muster_cycle_duration_seconds and /debug/pprof say what it does", "%s is too busy to be looked at; this is its picture of %s", c.Server(), m.At.UTC().Format("15:04:05Z")))
	} else {
		out = append(out, ok("scheduler", "%s answers: %d nodes, %d jobs run, %d wait", c.Server(), p.Nodes, p.Running, p.Pending))
	}
	switch {
	case !p.Leader.Leading:
		out = append(out, fail("leader", "ask the leader, "+p.Leader.Holder, "this process does not decide"))
	case p.Leader.Identity != "":
		out = append(out, ok("leader", "%s decides", p.Leader.Identity))
	default:
		out = append(out, ok("leader", "there is one process, which decides"))
	}
	if p.Paused != "" {
		out = append(out, fail("acting", "decisions go on as soon as it answers; the scheduler's log says more", "nothing is carried out: %s", p.Paused))
	} else {
		out = append(out, ok("acting", "what is decided is carried out"))
	}
	if p.Degraded {
		out = append(out, warn("guarantees", "add nodes, or lower guarantees; `muster get queues` tells what each counts now", "the pool is smaller than all guarantees together: each counts in proportion"))
	} else {
		out = append(out, ok("guarantees", "the pool can keep all guarantees"))
	}
	return out
}

// policies looks for those that don't answer, for versions that were refused, and for
// versions of the ABI that don't agree. spoken is the scheduler's.
func policies(ctx context.Context, c *client.Client, spoken string) ([]Check, error) {
	var list []serve.Policy
	if _, err := c.Get(ctx, "/policies", nil, &list); err != nil {
		return nil, err
	}
	return []Check{answering(list), named(list), abi(list, spoken, view.PolicyABI)}, nil
}

// answering looks for policies that a built-in has to answer for, and for versions that
// never came to answer.
func answering(list []serve.Policy) Check {
	var quarantined, failed, refused, details []string
	for i := range list {
		p := &list[i]
		if p.Active != nil && p.Active.State == reload.Quarantined {
			quarantined = append(quarantined, p.Name)
		}
		if v := p.Refused; v != nil {
			refused, details = append(refused, p.Name), append(details, strings.TrimSpace(fmt.Sprintf("%s %s", p.Name, v.Version))+fmt.Sprintf(": %s [%s]", v.Text, v.Code))
		}
		for _, u := range p.Uses {
			if u.Fallbacks > 0 {
				failed, details = append(failed, p.Name), append(details, fmt.Sprintf("%s: %d of %d calls as %s fell back: %s", p.Name, u.Fallbacks, u.Calls, u.Kind, u.Failure))
			}
		}
	}
	hint := "`muster policy status` and `muster get policies -o wide` say why"
	switch failed = slices.Compact(failed); {
	case len(quarantined) > 0:
		return fail("policies", hint, "a built-in answers for %s, in quarantine", some(quarantined)).with(details)
	case len(failed) > 0:
		return warn("policies", hint, "a built-in answered some calls for %s", some(failed)).with(details)
	case len(refused) > 0:
		return warn("policies", hint, "the newest version of %s was refused", some(refused)).with(details)
	}
	return ok("policies", "all %d answer for themselves", len(list))
}

// named looks for policies that queues name and that nobody has loaded, or of which no version
// has become active: the built-in of the kind decides instead.
func named(list []serve.Policy) Check {
	var names, details []string
	for i := range list {
		p := &list[i]
		if len(p.Queues) == 0 {
			continue
		}
		if why := unready(p); why != "" {
			names = append(names, p.Name)
			details = append(details, fmt.Sprintf("%s, named by %s: %s", p.Name, some(slices.Clone(p.Queues)), why))
		}
	}
	if len(names) > 0 {
		return warn("policy names", "load it (`muster policy load`, or a Policy object), or name one that is there; `muster get policies` lists them",
			"queues name policies that do not decide, so built-ins do: %s", strings.Join(details, "; ")).with(details)
	}
	return ok("policy names", "every policy that queues name is there")
}

// unready is why a policy does not decide what queues name it for, "" if it does.
func unready(p *serve.Policy) string {
	switch {
	case !p.BuiltIn && p.Active == nil && p.Refused != nil:
		return strings.TrimSpace(fmt.Sprintf("not active, refused: %s [%s] %s", p.Refused.Text, p.Refused.Code, p.Refused.Hint))
	case !p.BuiltIn && p.Active == nil && p.Incoming != nil:
		return fmt.Sprintf("not active yet, %s %s", p.Incoming.State, p.Incoming.Text)
	case !p.BuiltIn && p.Active == nil:
		return "not active"
	}
	for _, k := range []kinds.Kind{kinds.JobOrder, kinds.QueueShares, kinds.VictimCosts} {
		if !slices.Contains(p.Kinds, k.String()) {
			continue
		}
		if p.BuiltIn && !slices.Contains(order.Names(k), p.Name) {
			return "nothing of the name decides " + k.String()
		}
		if !p.BuiltIn && len(p.Active.Kinds) > 0 && !slices.Contains(p.Active.Kinds, k.String()) && !slices.Contains(order.Names(k), p.Name) {
			return "it does not decide " + k.String()
		}
	}
	return ""
}

// probes says of which nodes nobody knows what their GPUs do, and why. wire is what the
// scheduler speaks with them.
func probes(ctx context.Context, c *client.Client, wire string) ([]Check, error) {
	var list []view.Probe
	if _, err := c.Get(ctx, "/probes", all, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return []Check{ok("probes", "no node has GPUs")}, nil
	}
	by := map[string][]string{}
	var details []string
	for _, p := range list {
		by[p.State] = append(by[p.State], p.Node)
		switch p.State {
		case view.ProbeNone:
			details = append(details, p.Node+": no probe was ever heard of")
		case view.ProbeStale:
			details = append(details, fmt.Sprintf("%s: nothing was heard since %s", p.Node, p.Reported.UTC().Format(time.RFC3339)))
		}
	}
	none, stale := by[view.ProbeNone], by[view.ProbeStale]
	total := len(list)
	var c1 Check
	switch {
	case len(none) == total:
		c1 = warn("probes", "install muster-probe on nodes with GPUs; until then all of them count as busy", "none of the %d nodes with GPUs has a probe: nobody knows what their GPUs do", total)
	case len(none) > 0 || len(stale) > 0:
		var parts []string
		if len(none) > 0 {
			parts = append(parts, fmt.Sprintf("%d have none: %s", len(none), some(none)))
		}
		if len(stale) > 0 {
			parts = append(parts, fmt.Sprintf("%d are not heard of any more: %s", len(stale), some(stale)))
		}
		c1 = warn("probes", "look at the pods of muster-probe on these nodes; `muster-probe check` there says what is missing, and that it is heard only if it speaks "+wire, "of %d nodes with GPUs %s", total, strings.Join(parts, "; ")).with(details)
	default:
		c1 = ok("probes", "all %d nodes with GPUs have one that reports, by %s", total, wire)
	}
	return append([]Check{c1}, sources(list)...), nil
}

// about says what is lost without a source, and what to do.
var about = map[string]struct{ lost, hint string }{
	"nvml":         {"nothing is measured there", "is the driver loaded, and does the probe see libnvidia-ml.so.1? `muster-probe check` on the node says more"},
	"ebpf":         {"idleness is only sampled there", "it needs CAP_BPF and CAP_PERFMON and a kernel of 6.6 or later; `muster-probe check` on the node says more"},
	"podresources": {"which pod was given which GPU is not known there", "mount the kubelet's pod-resources socket into the probe"},
	"procfs":       {"whose processes use GPUs is not known there", "the probe needs hostPID"},
}

// sources says what the probes that report can't measure, by source.
func sources(list []view.Probe) (out []Check) {
	type trouble struct {
		nodes, details []string
		reasons        map[string]int
		of             int
	}
	by := map[string]*trouble{}
	for _, p := range list {
		for _, s := range p.Sources {
			t := by[s.Name]
			if t == nil {
				t = &trouble{reasons: map[string]int{}}
				by[s.Name] = t
			}
			if p.State != view.ProbeConnected {
				continue
			}
			t.of++
			if !s.Up {
				t.nodes = append(t.nodes, p.Node)
				t.reasons[s.Reason]++
				t.details = append(t.details, strings.TrimSpace(fmt.Sprintf("%s: %s %s", p.Node, s.Reason, s.Detail)))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t := by[name]
		if t.of == 0 {
			continue
		}
		if len(t.nodes) == 0 {
			out = append(out, ok("probe "+name, "up on all %d nodes that report", t.of))
			continue
		}
		why := slices.Sorted(maps.Keys(t.reasons))
		x := about[name]
		out = append(out, warn("probe "+name, x.hint, "down on %d of %d nodes (%s): %s; %s", len(t.nodes), t.of, strings.Join(why, ", "), some(t.nodes), x.lost).with(t.details))
	}
	return out
}

// gpus looks for GPUs that are not as they should, and for use that nobody asked for.
func gpus(ctx context.Context, c *client.Client) ([]Check, error) {
	var sick, stray []view.GPU
	if _, err := c.Get(ctx, "/gpus", url.Values{"unhealthy": {"true"}, "limit": all["limit"]}, &sick); err != nil {
		return nil, err
	}
	if _, err := c.Get(ctx, "/gpus", url.Values{"unrequested": {"true"}, "limit": all["limit"]}, &stray); err != nil {
		return nil, err
	}
	out := []Check{ok("gpus", "none is known to be unhealthy"), ok("requests", "nobody is known to use a GPU that was not given to him")}
	var names, details []string
	for i := range sick {
		names = append(names, fmt.Sprintf("%s %s", sick[i].Node, sick[i].HealthReason))
		details = append(details, fmt.Sprintf("%s %s: %s %s", sick[i].Node, sick[i].UUID, sick[i].Health, sick[i].HealthReason))
	}
	if len(sick) > 0 {
		out[0] = warn("gpus", "`muster get gpus --unhealthy` lists them; failed ones have left the capacity", "%d GPUs are not as they should be: %s", len(sick), some(names)).with(details)
	}
	names, details = nil, nil
	for i := range stray {
		names = append(names, stray[i].Node)
		for _, u := range stray[i].Uses {
			if u.Assigned != nil && !*u.Assigned {
				details = append(details, fmt.Sprintf("%s %s: %s", stray[i].Node, stray[i].UUID, u.Owner))
			}
		}
	}
	if len(stray) > 0 {
		out[1] = warn("requests", "`muster get gpus --unrequested -o wide` names them; privileged pods and NVIDIA_VISIBLE_DEVICES get around requests", "GPUs used by somebody to whom they were not given: %d, on %s", len(stray), some(slices.Compact(names))).with(details)
	}
	return out, nil
}
