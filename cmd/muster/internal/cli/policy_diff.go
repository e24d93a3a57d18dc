package cli

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/conformance/suite/mbatch"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/shadow"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/wasm"
)

type diffFlags struct {
	format, trace      string
	batches            []string
	rows, count, limit int
	params, oldParams  []string
	exit               bool
	load               traceFlags
}

func (a *app) policyDiff() *cobra.Command {
	var f diffFlags
	c := a.command("diff OLD NEW", "show what another policy would have decided differently", `
Puts the same batches to two policies and compares: which jobs would change places,
what queues would be entitled to, which victims would be the cheapest, and what it
costs. It is what a shadow run tells, without a cluster. A policy is a module, a
built-in by its name, or oci: and layout: references. The batches are those of a
trace played under OLD (--trace), .mbatch files (--batch), or samples.`, `
  muster policy diff fifo my-order.wasm --trace talk2
  muster policy diff old.wasm new.wasm --batch one.mbatch -o json`,
		"0 it was compared, 1 it could not be, 2 it was called wrongly, 3 they differ (with --exit-code)", cobra.ExactArgs(2),
		func(ctx context.Context, args []string) error {
			if err := checkFormat(f.format); err != nil {
				return err
			}
			return operatorFailed(a.diff(ctx, args[0], args[1], f))
		})
	formatFlag(c, &f.format)
	c.Flags().StringVar(&f.trace, "trace", "", "`TRACE` to take batches from: talk1, talk2, use or a path")
	c.Flags().StringArrayVar(&f.batches, "batch", nil, "`FILE.mbatch` to compare on; may be repeated")
	c.Flags().IntVar(&f.count, "samples", 20, "sample batches of each kind")
	c.Flags().IntVar(&f.rows, "rows", 100, "rows of a sample batch")
	c.Flags().IntVar(&f.limit, "limit", 1000, "most batches to take from a trace")
	c.Flags().StringArrayVar(&f.params, "param", nil, "setting of NEW, `NAME=VALUE`; may be repeated")
	c.Flags().StringArrayVar(&f.oldParams, "old-param", nil, "setting of OLD, `NAME=VALUE`; may be repeated")
	c.Flags().BoolVar(&f.exit, "exit-code", false, "exit with 3 if they differ")
	f.load.addLoad(c)
	return c
}

func (a *app) diff(ctx context.Context, before, after string, f diffFlags) (err error) {
	was, err := openPolicy(ctx, before, f.oldParams)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, was.Close()) }()
	would, err := openPolicy(ctx, after, f.params)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, would.Close()) }()
	both := was.Info().Kinds & would.Info().Kinds
	if both == 0 {
		return failed("`muster policy inspect` says what a module decides", "%s and %s decide nothing in common", before, after)
	}
	list, err := a.batchesFor(ctx, was, would, both, f)
	if err != nil {
		return err
	}
	r, err := shadow.Compare(ctx, was, would, list, shadow.Options{Kinds: both})
	if err != nil {
		return err
	}
	if r.Compared() == 0 {
		return failed("--limit, --trace and --batch choose the batches", "no batch could be compared")
	}
	if err := a.print(f.format, &r, func() error { return r.WriteText(a.out) }); err != nil {
		return err
	}
	if f.exit && r.Differs() > 0 {
		return silent(exitNotable)
	}
	return nil
}

// openPolicy finds a policy by a built-in's name, or wherever a module may lie.
func openPolicy(ctx context.Context, name string, params []string) (policies.Policy, error) {
	given, err := readParams(params)
	if err != nil {
		return nil, err
	}
	if slices.Contains(order.Names(policies.JobOrder|policies.QueueShares|policies.VictimCosts), name) {
		p, err := order.Configured(name, given)
		return p, paramFailed(name, err)
	}
	src, err := operator.ParseSource(name)
	if err != nil {
		return nil, err
	}
	if src.Kind == wanted.FromFile {
		return loadFor(ctx, name, params)
	}
	art, err := operator.Fetch(ctx, src)
	if err != nil {
		return nil, err
	}
	if art.IsRules() {
		return nil, failed("name modules or built-in policies", "%s holds rules in Rego, which are not compared", name)
	}
	m, err := wasm.Load(ctx, art.Module, wasm.Options{Name: moduleName(name), Params: given})
	if err != nil {
		return nil, &policyset.FileError{Path: name, Err: err}
	}
	return m, nil
}

func paramFailed(name string, err error) error {
	var pe *policies.ParamError
	if errors.As(err, &pe) {
		return misused(pe.Hint, "%s: %w", name, pe)
	}
	return err
}

func (a *app) batchesFor(ctx context.Context, was, would policies.Policy, kinds policies.Kind, f diffFlags) (list []shadow.Batch, err error) {
	for _, path := range f.batches {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, failed("name a .mbatch file", "cannot read %w", pathFirst(err))
		}
		b, err := mbatch.Decode(text)
		if err != nil {
			return nil, failed("a .mbatch file holds exactly the bytes of one batch (hostabi/abi.md)", "%s: %w", path, err)
		}
		list = append(list, shadow.Batch{Jobs: b.Jobs, Queues: b.Queues, Victims: b.Victims})
	}
	switch {
	case f.trace != "":
		recorded, err := a.record(ctx, was, would, kinds, f)
		return append(list, recorded...), err
	case len(list) > 0:
		return list, nil
	}
	in := would.Info()
	for _, k := range kindsOf(kinds) {
		for i := range f.count {
			b := gen.Of(k, gen.Rand(sampleSeed, "diff", i), f.rows, in)
			list = append(list, shadow.Batch{Jobs: b.Jobs, Queues: b.Queues, Victims: b.Victims})
		}
	}
	return list, nil
}

// record plays a trace under a policy and keeps the batches that it was asked.
func (a *app) record(ctx context.Context, was, would policies.Policy, kinds policies.Kind, f diffFlags) ([]shadow.Batch, error) {
	tr, err := f.load.load(f.trace)
	if err != nil {
		return nil, err
	}
	if tr.Static {
		return nil, misused("name a trace with times, as talk2", "a fill asks too little to be compared")
	}
	r := &recorder{Policy: was, reader: would.Info(), limit: f.limit}
	names := policyset.Names{}
	for k, to := range map[policies.Kind]*string{policies.JobOrder: &names.JobOrder, policies.QueueShares: &names.Fairness, policies.VictimCosts: &names.Victims} {
		if kinds&k != 0 {
			*to = recorderName
		}
	}
	set, tree := policyset.Fixed(tr.Queues, names, map[string]policies.Policy{recorderName: r})
	tr.Queues = tree
	update, end := a.progress(false, false, "playing "+tr.Name)
	defer end()
	_, err = sim.Run(ctx, tr, sim.Options{Set: set, Progress: update})
	return r.kept, err
}

const recorderName = "muster-diff"

// recorder keeps copies of the batches that its policy is asked.
type recorder struct {
	policies.Policy
	reader policies.Info // whose columns are filled, too
	limit  int
	kept   []shadow.Batch
}

// Info has the host fill what both policies read.
func (r *recorder) Info() policies.Info {
	in := r.Policy.Info()
	in.Columns = append(slices.Clone(in.Columns), r.reader.Columns...)
	in.Labels = r.reader.Labels
	return in
}

func (r *recorder) keep(b gen.Batch) {
	if len(r.kept) < r.limit && b.N() > 0 {
		c := b.Clone()
		r.kept = append(r.kept, shadow.Batch{Jobs: c.Jobs, Queues: c.Queues, Victims: c.Victims})
	}
}

// ScoreJobs keeps the batch and asks the policy.
func (r *recorder) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	r.keep(gen.Batch{Jobs: b})
	return r.Policy.ScoreJobs(ctx, b)
}

// Entitle keeps the batch and asks the policy.
func (r *recorder) Entitle(ctx context.Context, b *policies.QueueBatch) error {
	r.keep(gen.Batch{Queues: b})
	return r.Policy.Entitle(ctx, b)
}

// CostVictims keeps the batch and asks the policy.
func (r *recorder) CostVictims(ctx context.Context, b *policies.VictimBatch) error {
	r.keep(gen.Batch{Victims: b})
	return r.Policy.CostVictims(ctx, b)
}
