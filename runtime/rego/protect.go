package rego

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Unit is something that could be evicted: a whole gang, or one surplus task. Amounts
// are milli-GPU, times ns, lost work GPU-milliseconds. Use is a share of the unit's GPUs,
// and as Idle negative where it is not known.
type Unit struct {
	Job             *spec.Job
	Queue           string
	Tasks           int64
	GPUMilli        int64
	Running, Lost   int64
	Evicted         int64
	Surplus, Leader bool
	Use, Idle       int64
}

// unitsPerTimeout is how many units get the time limit of one verdict: evaluating one
// takes some 10 µs.
const unitsPerTimeout = 100

// Protect asks the protection rules about all units in one evaluation. Answer i says why
// unit i must not be evicted, "" if it may. Rules that fail protect everything; the error
// says how they failed.
func (r *Rules) Protect(ctx context.Context, now spec.Time, units []Unit) ([]string, error) {
	out := make([]string, len(units))
	if len(units) == 0 {
		return out, nil
	}
	bounded, cancel := context.WithTimeout(ctx, r.timeout*time.Duration(1+len(units)/unitsPerTimeout))
	defer cancel()
	doc, bad, err := r.ask(ctx, bounded, Protection, unitsInput(now, units), fmt.Sprintf("%d units", len(units)))
	if bad == nil {
		if problem := protected(doc, out); problem != "" {
			v := refusal(CodeBadDocument, "%s", problem)
			bad = &v
		}
	}
	if bad == nil {
		return out, nil
	}
	for i := range out {
		out[i] = bad.Messages[0]
	}
	if err == nil {
		err = fmt.Errorf("%s: %s", bad.Code, bad.Messages[0])
	}
	return out, err
}

// protected reads protect[i], a set of reasons, into out.
func protected(doc map[string]any, out []string) (problem string) {
	v, ok := single(doc, "protect")
	if !ok {
		return ""
	}
	units, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("protect is %T, not an object of numbers to sets of reasons; write: protect[i] contains \"why\" if …", v)
	}
	for _, key := range slices.Sorted(maps.Keys(units)) {
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= len(out) {
			return fmt.Sprintf("protect[%s]: there is no such unit among %d", key, len(out))
		}
		why, ok := textsOf(units[key])
		if !ok {
			return fmt.Sprintf("protect[%s] is %v, not a set of reasons", key, units[key])
		}
		if out[i] = join(why); out[i] == "" && len(why) > 0 {
			out[i] = "protected"
		}
	}
	return ""
}

func join(messages []string) string { return strings.Join(messages, "; ") }

// unitsInput builds {"units": […], "now_s": …}. A job with many units is written once.
func unitsInput(now spec.Time, units []Unit) ast.Value {
	terms := make([]*ast.Term, len(units))
	jobs := map[*spec.Job]*ast.Term{}
	for i := range units {
		u := &units[i]
		j, ok := jobs[u.Job]
		if !ok {
			j = ast.NewTerm(jobOf(u.Job))
			jobs[u.Job] = j
		}
		terms[i] = ast.NewTerm(u.document(j))
	}
	return object(field("units", ast.NewArray(terms...)), field("now_s", decimal(now, spec.Second)))
}

func (u *Unit) document(job *ast.Term) ast.Value {
	known, use, idle := u.Use >= 0 && u.Idle >= 0, u.Use, u.Idle
	if !known { // what is not known counts as busy, also for a rule that does not ask
		use, idle = int64(amount.One), 0
	}
	return object(
		[2]*ast.Term{ast.StringTerm("job"), job},
		field("queue", ast.String(u.Queue)),
		field("tasks", ast.Number(strconv.FormatInt(u.Tasks, 10))),
		field("gpus", decimal(u.GPUMilli, 1000)),
		field("running_s", decimal(u.Running, spec.Second)),
		field("lost_gpu_s", decimal(u.Lost, 1000)),
		field("evicted", ast.Number(strconv.FormatInt(u.Evicted, 10))),
		field("surplus", ast.Boolean(u.Surplus)), field("leader", ast.Boolean(u.Leader)),
		field("use_known", ast.Boolean(known)),
		field("use", decimal(permille(use), 1000)),
		field("idle_s", decimal(idle, spec.Second)),
	)
}

// permille is a share in thousandths, as exact as a measurement is.
func permille(share int64) int64 { return int64(uint64(share) * 1000 >> 32) }
