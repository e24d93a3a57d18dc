package mirror_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster/runtime/usage"
)

// BenchmarkRestart is what a scheduler does that comes to lead over 5,000 nodes with 20,000
// running pods and 100 that wait, from filled caches to its first decisions.
func BenchmarkRestart(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		c := newCluster(b)
		c.nodes(5000, 8)
		for i := range 20_000 {
			c.pod(fmt.Sprint("p", i), 1, on(fmt.Sprint("n", i%5000)))
		}
		for i := range 100 {
			c.pod(fmt.Sprint("w", i), 1)
		}
		b.StartTimer()
		c.m.Begin(nil)
		c.l.Turn(context.Background())
		b.StopTimer()
		n := 0
		for _, u := range c.work.Units {
			n += len(u.Binds)
		}
		if n != 100 || len(c.refused) > 0 {
			b.Fatalf("%d binds, refused: %v", n, c.refused)
		}
		b.StartTimer()
	}
}

// BenchmarkPodLife is a pod's way through the mirror and the loop: it comes, is bound,
// ends and is gone, beside 20,000 others.
func BenchmarkPodLife(b *testing.B) {
	c := newCluster(b)
	c.nodes(5000, 8)
	for i := range 20_000 {
		c.pod(fmt.Sprint("p", i), 1, on(fmt.Sprint("n", i%5000)))
	}
	c.begin()
	b.ReportAllocs()
	for b.Loop() {
		p := c.pod("x", 1)
		c.settle()
		if c.pods[p.UID].Spec.NodeName == "" {
			b.Fatal("it was not bound")
		}
		c.delete(c.pods[p.UID])
		c.settle()
		c.work = empty
	}
}

// BenchmarkUsed is what a round of reports costs, from the sink to the ledger: 5,000 nodes
// that each tell of 8 pods, in turns of a second as they come when all report every 10 s.
func BenchmarkUsed(b *testing.B) {
	c := newCluster(b)
	c.nodes(5000, 8)
	uses := make([][]usage.PodUse, 5000)
	for i := range 40_000 {
		p := c.pod(fmt.Sprint("p", i), 1, on(fmt.Sprint("n", i%5000)))
		uses[i%5000] = append(uses[i%5000], busy(p, 1, 50))
	}
	c.begin()
	b.ReportAllocs()
	for b.Loop() {
		c.now = c.now.Add(10 * time.Second)
		for i := range uses {
			for k := range uses[i] {
				uses[i][k].At = c.now.UnixNano()
			}
			c.m.Used(fmt.Sprint("n", i), uses[i])
			if i%500 == 499 {
				c.m.Flush()
				c.l.Turn(context.Background())
			}
		}
	}
	if s := c.m.UseStats(); s.Elsewhere+s.Strangers > 0 || len(c.refused) > 0 {
		b.Fatalf("%+v, refused %v", s, c.refused)
	}
}
