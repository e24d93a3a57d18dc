package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// benched is one line of a benchmark.
type benched struct {
	Kind       string  `json:"kind"`
	Rows       int     `json:"rows"`
	Nanos      float64 `json:"ns_per_call"`
	NanosRow   float64 `json:"ns_per_row"`
	Fuel       int64   `json:"fuel_per_call"`
	FuelRow    float64 `json:"fuel_per_row"`
	Twin       string  `json:"twin,omitempty"`
	TwinNanos  float64 `json:"twin_ns_per_call,omitempty"`
	Ratio      float64 `json:"ratio,omitempty"`
	Iterations int     `json:"iterations"`
}

func (a *app) policyBench() *cobra.Command {
	var format, twin string
	var params []string
	var rows []int
	var span time.Duration
	c := a.command("bench X.wasm", "measure time and fuel of a policy, next to its native twin", `
Calls the policy on sample batches and prints the median time and the fuel of a call
and of a row. Fuel is the same on every machine; time is not, so read the ratio to
the native twin, which is measured in turns with it. For a job order both times
include the host's sort. The twin is the built-in of the same name, or --twin.`, `
  muster policy bench bin/policies/fair.wasm
  muster policy bench my-order.wasm --rows 100,10000 --twin fifo`,
		"", cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			m, err := loadFor(ctx, args[0], params)
			if err != nil {
				return err
			}
			out, err := a.bench(ctx, m, twin, rows, span)
			if err = errors.Join(err, m.Close()); err != nil {
				return err
			}
			return a.print(format, out, func() error { return a.benchText(out) })
		})
	formatFlag(c, &format)
	c.Flags().StringVar(&twin, "twin", "", "built-in `POLICY` to compare with")
	c.Flags().StringArrayVar(&params, "param", nil, "setting of the policy, `NAME=VALUE`; may be repeated")
	c.Flags().IntSliceVar(&rows, "rows", []int{100, 1000, 10_000}, "rows of a batch")
	c.Flags().DurationVar(&span, "time", 300*time.Millisecond, "time for each line")
	return c
}

type fuelled interface {
	policies.Policy
	LastFuel() int64
}

func (a *app) bench(ctx context.Context, m fuelled, twin string, rows []int, span time.Duration) ([]benched, error) {
	var out []benched
	for _, k := range kindsOf(m.Info().Kinds) {
		native, err := twinOf(m.Info(), k, twin)
		if err != nil {
			return nil, err
		}
		for _, n := range rows {
			if n < 1 || n > 1_000_000 {
				return nil, misused("as in --rows 100,1000", "--rows %d: want 1 to 1000000", n)
			}
			b, err := benchOne(ctx, m, native, k, n, span)
			if err != nil {
				return nil, failed("`muster policy check` says more", "%w", err)
			}
			out = append(out, b)
		}
	}
	return out, nil
}

// twinOf is the built-in to compare with; nil if there is none.
func twinOf(in policies.Info, k policies.Kind, name string) (policies.Policy, error) {
	asked := name != ""
	if !asked {
		name = in.Name
	}
	p, ok := order.Builtin(name)
	if ok && p.Info().Kinds&k != 0 {
		return p, nil
	}
	if asked {
		return nil, misused(fmt.Sprintf("built in are %v", order.Names(k)), "there is no built-in policy %q that decides %s", name, k)
	}
	return nil, nil
}

// benchOne calls the policy and its twin in turns, so that whatever else the machine
// does falls on both.
func benchOne(ctx context.Context, m fuelled, native policies.Policy, k policies.Kind, n int, span time.Duration) (benched, error) {
	b, mine := benched{Kind: k.String(), Rows: n}, sample(m.Info(), k, n)
	theirs := mine
	if native != nil {
		theirs = sample(native.Info(), k, n)
		b.Twin = native.Info().Name
	}
	var s keysort.Scratch
	var guest, twin []float64
	for began := time.Now(); len(guest) < 3 || time.Since(began) < span; {
		t, err := timed(ctx, m, mine, &s)
		if err != nil {
			return b, err
		}
		guest = append(guest, t)
		if native == nil {
			continue
		}
		if t, err = timed(ctx, native, theirs, &s); err != nil {
			return b, err
		}
		twin = append(twin, t)
	}
	b.Iterations, b.Nanos, b.Fuel = len(guest), median(guest), m.LastFuel()
	b.NanosRow, b.FuelRow = b.Nanos/float64(n), float64(b.Fuel)/float64(n)
	if native != nil {
		b.TwinNanos = median(twin)
		b.Ratio = b.Nanos / b.TwinNanos
	}
	return b, nil
}

// timed is one call, with the host's sort of a job order.
func timed(ctx context.Context, p policies.Policy, b gen.Batch, s *keysort.Scratch) (float64, error) {
	var rows []int32
	if b.Jobs != nil {
		rows = make([]int32, b.Jobs.N)
		for i := range rows {
			rows[i] = int32(i)
		}
		b.Jobs.Serial = nil // every call anew: nothing that was answered before counts
	}
	began := time.Now()
	err := ask(ctx, p, b)
	if err == nil && b.Jobs != nil {
		keysort.Sort(rows, b.Jobs.Keys[:b.Jobs.NKeys], s)
	}
	return float64(time.Since(began).Nanoseconds()), err
}

func median(s []float64) float64 {
	slices.Sort(s)
	return s[len(s)/2]
}

func (a *app) benchText(list []benched) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "kind\trows\tns/call\tns/row\tfuel/call\tfuel/row\tnative\tratio\t")
	for _, b := range list {
		native, ratio := "-", "-"
		if b.Twin != "" {
			native, ratio = fmt.Sprintf("%.0f", b.TwinNanos), strconv.FormatFloat(b.Ratio, 'f', 2, 64)+"x"
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.1f\t%d\t%.1f\t%s\t%s\t\n", b.Kind, b.Rows, b.Nanos, b.NanosRow, b.Fuel, b.FuelRow, native, ratio)
	}
	return w.Flush()
}
