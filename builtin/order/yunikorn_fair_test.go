package order

import (
	"slices"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

func TestYunikornFairDenominators(t *testing.T) {
	tests := []struct {
		name   string
		queues []q
		want   []int64
	}{
		{"the guarantee, else the pool", []q{{guaranteed: 10}, {}}, []int64{10, 100}},
		{"a max stands in for the pool", []q{{max: 30}, {}}, []int64{30, 100}},
		{"the lowest max on the path wins, even if larger", []q{{max: 30}, {under: 1}, {under: 1, max: 50}}, []int64{30, 30, 50}},
		{"an ancestor's guarantee does not count", []q{{guaranteed: 40}, {under: 1}}, []int64{40, 100}},
		{"a guarantee of 0 counts", []q{{guaranteedZero: true}}, []int64{0}},
		{"a max of 0 counts", []q{{maxSet: true}}, []int64{0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := entitle(t, "yunikorn-fair", gpuTable(100, tt.queues...), 1000); !slices.Equal(got, tt.want) {
				t.Errorf("entitled %v, want %v", got, tt.want)
			}
		})
	}
}

// yunikorn.md, fact 7: seen in YuniKorn itself.
func TestYunikornFairPutsABestEffortQueueBeforeAGuaranteedOne(t *testing.T) {
	b := gpuTable(100, q{used: 70, asks: 100}, q{guaranteed: 10, used: 8, asks: 100})
	entitle(t, "yunikorn-fair", b, 1)
	share := func(row int) amount.Share {
		return amount.ShareOf(amount.Amount(b.Used[row]), amount.Amount(b.Entitled[row]))
	}
	if share(1) >= share(2) || b.Rank[1] != b.Rank[2] {
		t.Errorf("shares %d and %d, ranks %v: best effort at 0.70 goes before 0.80 of a guarantee", share(1), share(2), b.Rank)
	}
}

func TestYunikornFairRanksSiblingsByPriority(t *testing.T) {
	b := gpuTable(100, q{priority: 5}, q{priority: 9}, q{priority: 5}, q{under: 1, priority: -3}, q{under: 1, priority: 100})
	entitle(t, "yunikorn-fair", b, 1)
	if want := []int64{1, 2, 1, 2, 2, 1}; !slices.Equal(b.Rank, want) {
		t.Errorf("ranks %v, want %v", b.Rank, want)
	}
}

func TestYunikornFairSkipsWhatNobodyKnows(t *testing.T) {
	b := table("example.com/fpga", 1, 0, q{used: 3})
	if got := entitle(t, "yunikorn-fair", b, 1); got[0] != policies.NoMax {
		t.Errorf("entitled to %d", got[0])
	}
}
