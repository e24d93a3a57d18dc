package order

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

func TestGuaranteedFairShares(t *testing.T) {
	tests := []struct {
		name   string
		pool   int64
		queues []q
		want   []int64
	}{
		{"weights 70 and 30, both busy, share 70/30", 100, []q{{weight: 70, asks: 100}, {weight: 30, asks: 100}}, []int64{70, 30}},
		{"guarantees 60 and 40, both busy, get 60/40", 100, []q{{guaranteed: 60, asks: 100}, {guaranteed: 40, asks: 100}}, []int64{60, 40}},
		{"a alone is lent the whole pool", 100, []q{{guaranteed: 60, asks: 100}, {guaranteed: 40}}, []int64{100, 0}},
		{"b asks for 15 of its 40, a has the rest", 100, []q{{guaranteed: 60, asks: 100}, {guaranteed: 40, asks: 15}}, []int64{85, 15}},
		{"five equal queues, one asks for 450 and one for 50", 500, []q{{guaranteed: 100, asks: 450}, {guaranteed: 100, asks: 50}, {guaranteed: 100}, {guaranteed: 100}, {guaranteed: 100}}, []int64{450, 50, 0, 0, 0}},
		{"five equal queues, all busy", 500, []q{{guaranteed: 100, asks: 500}, {guaranteed: 100, asks: 500}, {guaranteed: 100, asks: 500}, {guaranteed: 100, asks: 500}, {guaranteed: 100, asks: 500}}, []int64{100, 100, 100, 100, 100}},
		{"103 GPUs among three equal queues: the spare one goes to the first", 103, []q{{asks: 103}, {asks: 103}, {asks: 103}}, []int64{35, 34, 34}},
		{"weights 5/3/1 with maxima that fit together: everyone at their max", 100, []q{{weight: 5, max: 36, asks: 100}, {weight: 3, max: 26, asks: 100}, {weight: 1, max: 35, asks: 100}}, []int64{36, 26, 35}},
		{"exact 35.83/26/35.17 is rounded by the largest remainder", 97, []q{{weight: 5, guaranteed: 30, asks: 100}, {weight: 3, max: 26, guaranteed: 26, asks: 100}, {weight: 1, guaranteed: 34, asks: 100}}, []int64{36, 26, 35}},
		{"a queue without a guarantee lives on what is left", 300, []q{{guaranteed: 99, asks: 400}, {asks: 400}}, []int64{298, 2}},
		{"it weighs 1 against 99: of 21 to spare its part is 0.21, which rounds to none", 120, []q{{guaranteed: 99, asks: 200}, {asks: 200}}, []int64{120, 0}},
		{"an explicit guarantee of 0 is no guarantee", 10, []q{{guaranteedZero: true, asks: 10}, {asks: 10}}, []int64{5, 5}},
		{"a max of 0 forbids", 10, []q{{maxSet: true, asks: 10}, {asks: 10}}, []int64{0, 10}},
		{"three nodes died: guarantees of 60/40 on 50 GPUs", 50, []q{{guaranteed: 60, asks: 60}, {guaranteed: 40, asks: 40}}, []int64{30, 20}},
		{"too small a pool is shared in whole GPUs", 7, []q{{guaranteed: 6, asks: 60}, {guaranteed: 4, asks: 40}}, []int64{4, 3}},
		{"nobody asks", 100, []q{{guaranteed: 60}, {guaranteed: 40}}, []int64{0, 0}},
		{"an empty pool", 0, []q{{guaranteed: 60, asks: 10}, {asks: 10}}, []int64{0, 0}},
		{
			"a child's idle guarantee is lent to its sibling before its cousin", 100,
			[]q{{guaranteed: 60}, {guaranteed: 40}, {under: 1, guaranteed: 30, asks: 100}, {under: 1, guaranteed: 30}, {under: 2, asks: 100}},
			[]int64{60, 40, 60, 0, 40},
		},
		{
			"a parent without a guarantee has that of its children", 100,
			[]q{{}, {guaranteed: 40}, {under: 1, guaranteed: 60, asks: 100}, {under: 2, asks: 100}},
			[]int64{60, 40, 60, 40},
		},
		{
			"what children may not use is not kept by their parent", 100,
			[]q{{guaranteed: 60}, {guaranteed: 40}, {under: 1, max: 10, asks: 100}, {under: 2, asks: 100}},
			[]int64{10, 90, 10, 90},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := entitle(t, "guaranteed-fair", gpuTable(tt.pool, tt.queues...), 1000)
			if !slices.Equal(got, tt.want) {
				t.Errorf("entitled %v, want %v", got, tt.want)
			}
		})
	}
}

// The five queues of the shared trace talk-scenarios, t2: 64 nodes of 8 GPUs,
// q1 to q5 busy from hour 0 to 4, one after the other. The ideal shares in its
// t2_ideal_share.csv are fractions; ours are these in whole GPUs.
func TestGuaranteedFairTalkT2(t *testing.T) {
	queues := []q{{guaranteed: 160, max: 448}, {guaranteed: 128, max: 512}, {guaranteed: 96, max: 512}, {guaranteed: 80, max: 512}, {guaranteed: 48, max: 512}}
	ideal := [][]float64{
		{448, 0, 0, 0, 0},
		{284.44, 227.56, 0, 0, 0},
		{213.33, 170.67, 128, 0, 0},
		{176.55, 141.24, 105.93, 88.28, 0},
		{160, 128, 96, 80, 48},
	}
	for hour, want := range ideal {
		queues[hour].asks = 1000
		got := entitle(t, "guaranteed-fair", gpuTable(512, queues...), 1000)
		sum := int64(0)
		for i, w := range want {
			sum += got[i]
			if math.Abs(float64(got[i])-w) >= 1 {
				t.Errorf("hour %d: q%d entitled to %d, ideal %.2f", hour, i+1, got[i], w)
			}
		}
		if all := int64(512); hour > 0 && sum != all {
			t.Errorf("hour %d: %d of %d GPUs shared", hour, sum, all)
		}
	}
}

func TestGuaranteedFairPartialGPUs(t *testing.T) {
	tests := []struct {
		name string
		pool int64
		asks []int64 // milli
		want []int64
	}{
		{"the part of a GPU that the pool ends with goes out last", 3500, []int64{9000, 9000}, []int64{2000, 1500}},
		{"a queue that wants half a GPU gets exactly that", 3000, []int64{500, 9000}, []int64{500, 2500}},
		{"halves are not rounded away", 1000, []int64{500, 500}, []int64{500, 500}},
		{"whole GPUs where all want more", 2000, []int64{1500, 1500, 1500}, []int64{1000, 1000, 0}},
		{"a need that ends in a part takes the part", 3000, []int64{1700, 1700}, []int64{1700, 1300}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := gpuTable(0, make([]q, len(tt.asks))...)
			b.Capacity[0] = tt.pool
			copy(b.Demand[1:], tt.asks)
			if got := entitle(t, "guaranteed-fair", b, 1); !slices.Equal(got, tt.want) {
				t.Errorf("entitled %v milli, want %v", got, tt.want)
			}
		})
	}
}

func TestGuaranteedFairDefaultWeightIsInWholeUnits(t *testing.T) {
	tests := []struct {
		resource   string
		guaranteed int64
		want       amount.Amount
	}{
		{amount.GPUName, 60_000, 60},
		{amount.TypedGPU("H100"), 1_500, 2},
		{amount.CPUName, 500, 1},
		{amount.MemoryName, 3<<30 + 1, 4},
		{"pods", 7, 7},
		{"pods", 0, 1},
		{amount.GPUName, int64(amount.Max), amount.Max/1000 + 1},
	}
	for _, tt := range tests {
		g := guaranteeFirst{due: []amount.Amount{amount.Amount(tt.guaranteed)}}
		b := emptyBatch(1, tt.resource)
		if got := g.weight(b, 0, 0); got != tt.want {
			t.Errorf("%d of %s weighs %d, want %d", tt.guaranteed, tt.resource, got, tt.want)
		}
	}
}

func TestGuaranteedFairRank(t *testing.T) {
	tests := []struct {
		name string
		q    q
		want int64
	}{
		{"under its guarantee with demand", q{guaranteed: 10, asks: 10, used: 9}, 0},
		{"at its guarantee", q{guaranteed: 10, asks: 12, used: 10}, 1},
		{"under its guarantee, but nothing pending", q{guaranteed: 10, asks: 9, used: 9}, 1},
		{"no guarantee", q{asks: 12}, 1},
		{"an explicit guarantee of 0", q{guaranteedZero: true, asks: 12}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := gpuTable(100, tt.q)
			entitle(t, "guaranteed-fair", b, 1)
			if b.Rank[1] != tt.want {
				t.Errorf("rank %d, want %d", b.Rank[1], tt.want)
			}
		})
	}
}

func TestGuaranteedFairRankLooksAtTheResourcesInDemand(t *testing.T) {
	b := emptyBatch(3, "cpu", amount.GPUName)
	copy(b.Parent, []int32{-1, 0, 0})
	copy(b.Capacity, []int64{100_000, 100_000})
	copy(b.Guaranteed[2:], []int64{10_000, 10_000, 10_000, 10_000})
	copy(b.Used[2:], []int64{10_000, 0, 10_000, 0})
	copy(b.Demand[2:], []int64{10_000, 1000, 11_000, 1000})
	entitle(t, "guaranteed-fair", b, 1)
	if b.Rank[1] != 0 {
		t.Errorf("cpu is at the guarantee but none is wanted: rank %d, want 0", b.Rank[1])
	}
	if b.Rank[2] != 1 {
		t.Errorf("cpu is wanted beyond the guarantee: rank %d, want 1", b.Rank[2])
	}
}

func TestGuaranteedFairRanksAParentByItsChildrensGuarantees(t *testing.T) {
	b := gpuTable(100, q{}, q{asks: 50}, q{under: 1, guaranteed: 20, asks: 50, used: 5})
	entitle(t, "guaranteed-fair", b, 1)
	if got := b.Rank[1:]; !slices.Equal(got, []int64{0, 1, 0}) {
		t.Errorf("ranks %v, want 0 for the parent and the child that is owed", got)
	}
}

func TestFairnessRefusesATreeOutOfOrder(t *testing.T) {
	for _, name := range Names(policies.QueueShares) {
		for _, parent := range []int32{-1, 1, 2, 9} {
			b := gpuTable(10, q{asks: 1}, q{asks: 1})
			b.Parent[1] = parent
			p, _ := Builtin(name)
			err := p.Entitle(t.Context(), b)
			if policies.CodeOf(err) != policies.CodeBadInput {
				t.Errorf("%s, parent %d: got %v, want bad-input", name, parent, err)
			}
		}
	}
}

func TestFairnessOfNoQueuesAndOfTheRootAlone(t *testing.T) {
	for _, name := range Names(policies.QueueShares) {
		p, _ := Builtin(name)
		if err := p.Entitle(t.Context(), &policies.QueueBatch{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		b := gpuTable(10)
		entitle(t, name, b, 1)
		if b.Entitled[0] != 10_000 || b.Rank[0] != 1 {
			t.Errorf("%s: the root has %d, rank %d", name, b.Entitled[0], b.Rank[0])
		}
	}
}

func TestExtremeAmountsSaturate(t *testing.T) {
	for _, name := range Names(policies.QueueShares) {
		b := gpuTable(10, q{asks: 1, weight: math.MaxInt64}, q{asks: 1, weight: math.MaxInt64}, q{asks: 1})
		for i := range b.Demand {
			b.Demand[i], b.Used[i] = math.MaxInt64, math.MinInt64
			b.Guaranteed[i] = math.MaxInt64
		}
		b.Capacity[0] = math.MaxInt64
		var sum amount.Amount
		for _, e := range entitle(t, name, b, 1) {
			if e < 0 {
				t.Errorf("%s: entitled to %d", name, e)
			}
			sum = sum.Add(amount.Amount(e))
		}
		if name == "guaranteed-fair" && sum != amount.Max {
			t.Errorf("%s: shared %d of everything", name, sum)
		}
	}
}

func TestAPolicyAnswersOnlyItsOwnKind(t *testing.T) {
	for _, name := range Names(policies.JobOrder | policies.QueueShares | policies.VictimCosts) {
		p, _ := Builtin(name)
		in := p.Info()
		if in.Name != name || in.Digest != "builtin" || in.Version == "" {
			t.Errorf("%s says it is %+v", name, in)
		}
		answers := map[policies.Kind]error{
			policies.JobOrder:    p.ScoreJobs(t.Context(), &policies.JobBatch{}),
			policies.QueueShares: p.Entitle(t.Context(), &policies.QueueBatch{}),
			policies.VictimCosts: p.CostVictims(t.Context(), &policies.VictimBatch{}),
		}
		for kind, err := range answers {
			if refused := errors.Is(err, policies.ErrNotImplemented); refused == (in.Kinds == kind) {
				t.Errorf("%s asked for %s: %v", name, kind, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

func TestNamesAndDefaults(t *testing.T) {
	for kind, want := range map[policies.Kind][]string{
		policies.JobOrder:    {"deadline-first", "fair", "fifo", "priority-fifo", "shortest-first", "sjf-aged", "slurm-multifactor"},
		policies.QueueShares: {"decayed-fair", "drf", "guaranteed-fair", "kai-proportion", "priority", "yunikorn-fair"},
		policies.VictimCosts: {
			"checkpoint-aware", "idle-first", "least-lost-work", "lowest-priority-first", "most-over-share", "youngest-first",
		},
	} {
		if got := Names(kind); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
	for kind, want := range map[policies.Kind]string{
		policies.JobOrder: "fifo", policies.QueueShares: "guaranteed-fair", policies.VictimCosts: "least-lost-work",
	} {
		if got := Default(kind).Info().Name; got != want {
			t.Errorf("default %s is %s, want %s", kind, got, want)
		}
	}
	if p := Default(policies.JobOrder | policies.VictimCosts); p != nil {
		t.Errorf("default of two kinds is %v", p)
	}
	if _, ok := Builtin("lottery"); ok {
		t.Error("there is no built-in lottery")
	}
}
