package mirror_test

import (
	"context"
	"fmt"
	"testing"
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
