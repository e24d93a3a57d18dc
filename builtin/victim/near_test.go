package victim

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// racked adds a node of 8 GPUs in a rack.
func (s *scene) racked(rack string) {
	s.w.AddNode(spec.Node{Name: fmt.Sprintf("n%04d", len(s.w.Nodes)), Labels: map[string]string{"rack": rack}, Capacity: spec.GPUs(8)})
	s.w.Quota.Rescale()
	s.x.Refresh()
}

func near(j spec.Job, n spec.Near) spec.Job {
	j.Tasks[0].Near = n
	return j
}

func TestVictimsAreTakenWhereTheJobMayGo(t *testing.T) {
	web := spec.Term{ID: "web", Topology: "rack"}
	for _, c := range []struct {
		name string
		near spec.Near
		want string
	}{
		{"anywhere, the cheapest", spec.Near{}, "young"},
		{"not in the rack of what it avoids", spec.Near{Avoids: []spec.Term{web}}, "old"},
		{"only in the rack of what it needs", spec.Near{Needs: []spec.Term{web}}, "young"},
		{"not where it would be too many", spec.Near{Spread: []spec.Spread{{Term: web, MaxSkew: 1}}}, "young"},
		{"nor with itself", spec.Near{Counts: []string{"web"}, Spread: []spec.Spread{{Term: web, MaxSkew: 1, Self: true}}}, "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, queue("root", -1, queue("a", 0), queue("b", 16)))
			s.racked("1")
			s.racked("2")
			s.runOn("root.a", jobSpec("old", 1, 8), 0, 1)
			s.runOn("root.a", jobSpec("young", 1, 7), hour-1, 0)
			s.runOn("root.b", near(jobSpec("company", 1, 1), spec.Near{Counts: []string{"web"}}), 0, 0)
			s.reclaims(s.add("root.b", near(jobSpec("j", 1, 7), c.near)), c.want)
		})
	}
}

// Room on a node that the job must not use is no room: victims elsewhere are looked for.
func TestRoomInTheWrongPlaceDoesNotKeepAJobFromItsGuarantee(t *testing.T) {
	s := newScene(t, queue("root", -1, queue("a", 0), queue("b", 16)))
	s.racked("1")
	s.racked("2")
	s.runOn("root.b", near(jobSpec("company", 1, 1), spec.Near{Counts: []string{"web"}}), 0, 0)
	s.runOn("root.a", jobSpec("lent", 1, 8), 0, 1)
	s.reclaims(s.add("root.b", near(jobSpec("j", 1, 2), spec.Near{Avoids: []spec.Term{{ID: "web"}}})), "lent")
}

// Nobody is evicted only for being unwelcome.
func TestAJobWaitsForWhatItAvoidsToGoByItself(t *testing.T) {
	s := newScene(t, queue("root", -1, queue("a", 0), queue("b", 8)))
	s.racked("1")
	s.runOn("root.a", near(jobSpec("unwelcome", 1, 1), spec.Near{Counts: []string{"web"}}), 0, 0)
	s.spares(s.add("root.b", near(jobSpec("j", 1, 2), spec.Near{Avoids: []spec.Term{{ID: "web"}}})), reasonPieces)
}

func TestAGangGetsOneRackByReclaim(t *testing.T) {
	s := newScene(t, queue("root", -1, queue("a", 0), queue("b", 32)))
	for _, rack := range []string{"1", "2", "2", "1"} {
		s.racked(rack)
	}
	for n := range 3 {
		s.runOn("root.a", jobSpec(fmt.Sprint("v", n), 1, 8), 0, n)
	}
	keep := jobSpec("keep", 1, 8) // in rack 1, whose other node can't hold the gang
	keep.NonPreemptible = true
	s.runOn("root.b", keep, 0, 3)
	gang := near(jobSpec("gang", 2, 8), spec.Near{Counts: []string{"g"}, Needs: []spec.Term{{ID: "g", Topology: "rack"}}})
	o := s.reclaims(s.add("root.b", gang), "v1 v2")
	if len(o.Placed) != 2 || s.w.Nodes[o.Placed[0].Node].Spec.Labels["rack"] != "2" {
		t.Errorf("placed %+v", o.Placed)
	}
}

// Whatever is evicted, the places won are right once the victims are gone.
func TestThePlacesWonAreRightForAJobThatRelatesToOthers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t, queue("root", -1, queue("a", 0), queue("b", 99)))
		nodes := rapid.IntRange(2, 5).Draw(rt, "nodes")
		for range nodes {
			s.racked(rapid.SampledFrom([]string{"1", "2"}).Draw(rt, "rack"))
		}
		for n := range nodes {
			for i := range rapid.IntRange(0, 4).Draw(rt, "jobs") {
				j := jobSpec(fmt.Sprintf("v%d-%d", n, i), 1, 2)
				if rapid.Bool().Draw(rt, "counts") {
					j = near(j, spec.Near{Counts: []string{"x"}})
				}
				s.runOn("root.a", j, 0, n)
			}
		}
		of := spec.Term{ID: "x", Topology: rapid.SampledFrom([]string{"", "rack"}).Draw(rt, "topology")}
		relation := rapid.SampledFrom([]spec.Near{
			{Avoids: []spec.Term{of}},
			{Counts: []string{"x"}, Needs: []spec.Term{of}},
			{Counts: []string{"x"}, Spread: []spec.Spread{{Term: of, MaxSkew: 1, Self: true}}},
		}).Draw(rt, "relation")
		j := s.add("root.b", near(jobSpec("j", rapid.Int64Range(1, 3).Draw(rt, "tasks"), rapid.Int64Range(1, 8).Draw(rt, "gpus")), relation))
		o, _ := s.search().Reclaim(j)
		if o == nil {
			return
		}
		for _, v := range o.Victims {
			for _, task := range v.Tasks {
				s.w.Release(task)
			}
		}
		places := make([]world.NodeIx, len(o.Placed))
		for i, task := range o.Placed {
			places[i] = task.Node
		}
		for _, task := range o.Placed {
			s.w.Release(task)
		}
		for i, task := range o.Placed {
			if m := s.w.Nearby(j, 0).Refusal(places[i]); m != world.Fit {
				rt.Fatalf("task %d on %s: %s\n%s", task.Index, s.w.Nodes[places[i]].Name, m, s.w.Digest())
			}
			s.w.Place(task, places[i], 0, world.Bound, 0)
		}
	})
}
