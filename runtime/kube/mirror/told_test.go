package mirror_test

import (
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/kube/groups"
)

func TestWhatOfAPodIsPassedOverIsToldOnceWithWhatToWriteInstead(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	p := c.pod("a", 1, annotation(groups.KeyNotice, "90"))
	c.begin()
	c.expect("a")
	c.change(p, label("touched", "again"))
	c.settle()
	var told []string
	for _, e := range c.work.Events {
		if e.Reason == "BadDuration" {
			told = append(told, e.About.Name+": "+e.Text)
		}
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "a: metadata.annotations["+groups.KeyNotice+"]: ") || !strings.HasSuffix(told[0], "; write 90s, 10m or 2h30m") {
		t.Errorf("told %q", told)
	}
}
