package mirror_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"weak"

	corev1 "k8s.io/api/core/v1"
)

// A scheduler runs for months: what is gone from the cluster must be gone from memory.
func TestNothingIsKeptOfPodsThatAreGone(t *testing.T) {
	c := newCluster(t)
	c.nodes(4, 8)
	c.begin()
	const n = 200
	var all []weak.Pointer[corev1.Pod]
	for round := range 2 {
		for i := range n / 2 {
			p := c.pod(fmt.Sprintf("p%d-%d", round, i), 1, owned("Job", fmt.Sprint("j", i%7)))
			all = append(all, weak.Make(p))
		}
		c.settle()
		for len(c.pods) > 0 {
			for _, p := range c.pods {
				all = append(all, weak.Make(p)) // as it was bound
				c.delete(p)
			}
			c.settle()
		}
	}
	c.pod("last", 1)
	c.pass(2 * time.Minute)
	runtime.GC()
	runtime.GC()
	kept := 0
	for _, w := range all {
		if w.Value() != nil {
			kept++
		}
	}
	if kept > 5 { // what was read of the last pod of a kind is kept, for others like it
		t.Errorf("%d of %d versions of pods are still in memory", kept, len(all))
	}
	runtime.KeepAlive(c)
}
