package victim

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// splitmix is the generator that testdata/optima.py uses too.
type splitmix uint64

func (r *splitmix) below(n int) int {
	*r += 0x9E3779B97F4A7C15
	z := uint64(*r)
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return int((z ^ (z >> 31)) % uint64(n))
}

var drawnSizes = []int{1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 8, 8, 8, 16, 16, 32, 64}

// drawn is a seeded pool of 8-GPU nodes, full of gangs of five queues of which
// the last lends and wants back.
type drawn struct {
	*scene
	job  *world.Job
	jobs int
}

// drawScene makes the instance of a seed; it must draw as optima.py does.
func drawScene(t testing.TB, seed int) *drawn {
	r := splitmix(seed)
	n := []int{16, 64, 128}[seed%3]
	tasks := []int{1, n / 16, n / 8}[seed/3%3]
	gpus := []int{8, 8, 4}[seed/3%3]
	root := queue("root", -1)
	var guaranteed, allocated [5]int
	for q, share := range []int{12, 16, 14, 18, 40} {
		guaranteed[q] = 8 * n * share / 100
		root.Children = append(root.Children, queue(fmt.Sprint("q", q), int64(guaranteed[q])))
	}
	d := &drawn{scene: newScene(t, root)}
	d.nodes(n, 8)
	free := make([]int, n)
	for i := range free {
		free[i] = 8
	}
	for misses := 0; misses < 200; {
		size := drawnSizes[r.below(len(drawnSizes))]
		per := min(size, 1<<r.below(4))
		q := r.below(5)
		seconds := 60 + r.below(14340)
		start := r.below(n)
		if q == 4 && allocated[4]+size+tasks*gpus > guaranteed[4] {
			misses++
			continue
		}
		at := drawPlaces(&r, free, size/per, per, start)
		if at == nil {
			misses++
			continue
		}
		allocated[q] += size
		j := jobSpec(fmt.Sprintf("g%03d", d.jobs), int64(size/per), int64(per))
		d.runOn(fmt.Sprint("root.q", q), j, 0, at...).Checkpoint = hour*10 - int64(seconds)*spec.Second
		d.jobs++
	}
	d.job = d.add("root.q4", jobSpec("owner", int64(tasks), int64(gpus)))
	return d
}

// drawPlaces finds a node for each task, first fit from a start that moves; nil,
// changing nothing, if one has none.
func drawPlaces(r *splitmix, free []int, tasks, per, start int) (at []int) {
	left := append([]int(nil), free...)
	for range tasks {
		k := 0
		for k < len(left) && left[(start+k)%len(left)] < per {
			k++
		}
		if k == len(left) {
			return nil
		}
		n := (start + k) % len(left)
		left[n] -= per
		at = append(at, n)
		start = n + r.below(2)
	}
	copy(free, left)
	return at
}

type optimum struct {
	seed, nodes, tasks, gpus, gangs int
	loss                            int64
	victims                         int
}

func readOptima(t testing.TB) (all []optimum) {
	f, err := os.Open("testdata/optima.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		var o optimum
		if _, err := fmt.Sscan(sc.Text(), &o.seed, &o.nodes, &o.tasks, &o.gpus, &o.gangs, &o.loss, &o.victims); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// The bar of traces.md section 6.3: a set whenever there is one, and no more than
// 5 % above the least possible loss.
func TestTheLossIsNearTheExactOptimum(t *testing.T) {
	var sum, worst float64
	var slowest, total time.Duration
	n, exact := 0, 0
	for _, o := range readOptima(t) {
		d := drawScene(t, o.seed)
		if d.jobs != o.gangs {
			t.Fatalf("seed %d: drew %d gangs, the table says %d", o.seed, d.jobs, o.gangs)
		}
		search := New(d.w, d.x, d.price, 10*hour)
		began := time.Now()
		got, why := search.Reclaim(d.job)
		took := time.Since(began)
		slowest, total = max(slowest, took), total+took
		if o.loss < 0 {
			if got != nil && !straddled(got) {
				t.Errorf("seed %d: evicts %s where there is no way", o.seed, names(got))
			}
			continue
		}
		if got == nil {
			t.Errorf("seed %d: nobody is evicted (%s), though it is possible for %d GPU seconds", o.seed, why, o.loss)
			continue
		}
		if straddled(got) {
			t.Errorf("seed %d: straddles without need", o.seed)
			continue
		}
		loss := int64(0)
		for _, v := range got.Victims {
			loss += v.LostMS
		}
		ratio := float64(loss) / float64(o.loss*1000)
		if ratio < 1 {
			t.Errorf("seed %d: better (%d) than the optimum %d", o.seed, loss/1000, o.loss)
		}
		if ratio < 1.000001 {
			exact++
		} else {
			t.Logf("seed %d: %d nodes, %d x %d GPUs, %d gangs: %.4f", o.seed, o.nodes, o.tasks, o.gpus, o.gangs, ratio)
		}
		sum, worst, n = sum+ratio, max(worst, ratio), n+1
		keepsGuarantees(t, d, got)
	}
	t.Logf("%d instances: mean ratio %.4f, worst %.4f, exact in %d; decision mean %v, slowest %v",
		n, sum/float64(n), worst, exact, total/200, slowest)
	if mean := sum / float64(n); mean > 1.05 || worst > 1.10 {
		t.Errorf("mean ratio %.4f, worst %.4f", mean, worst)
	}
}

func straddled(o *Outcome) bool {
	for _, v := range o.Victims {
		if v.Rule == "straddle" {
			return true
		}
	}
	return false
}

func keepsGuarantees(t *testing.T, d *drawn, o *Outcome) {
	tree := d.w.Quota
	for _, v := range o.Victims {
		if q := v.Job.Queue; tree.Excess(q, amount.GPU) < 0 || q == d.job.Queue {
			t.Errorf("%s is left with less than its guarantee", tree.Queues[q].Path)
		}
	}
}
