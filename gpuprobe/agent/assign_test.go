package agent

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/gpuprobe/podresources"
)

func given(list ...string) (out []podresources.Assignment) { // pod, device, pod, device …
	for i := 0; i < len(list); i += 2 {
		out = append(out, podresources.Assignment{Namespace: "n", Pod: list[i], Device: list[i+1]})
	}
	return out
}

func TestWhichUIDIsWhichPod(t *testing.T) {
	known := map[string]string{"G0": "G0", "G1": "G1", "G2": "G2", "nvidia0": "G0", "gpu-1": "G1"}
	nobody := func(string) (string, string, bool) { return "", "", false }
	for name, c := range map[string]struct {
		list  []podresources.Assignment
		on    map[string][]string
		exact map[string]string
		want  map[string]string // UID to pod
	}{
		"one on one":                   {given("a", "G0"), map[string][]string{"u": {"G0"}}, nil, map[string]string{"u": "a"}},
		"by an index":                  {given("a", "nvidia0"), map[string][]string{"u": {"G0"}}, nil, map[string]string{"u": "a"}},
		"by a DRA device":              {given("a", "pool-x/gpu-1"), map[string][]string{"u": {"G1"}}, nil, map[string]string{"u": "a"}},
		"a device that nobody knows":   {given("a", "G9"), map[string][]string{"u": {"G0"}}, nil, nil},
		"two pods on two":              {given("a", "G0", "b", "G1"), map[string][]string{"u": {"G0"}, "v": {"G1"}}, nil, map[string]string{"u": "a", "v": "b"}},
		"two pods share one":           {given("a", "G0", "b", "G0"), map[string][]string{"u": {"G0"}, "v": {"G0"}}, nil, nil},
		"they share, and one is known": {given("a", "G0", "b", "G0"), map[string][]string{"u": {"G0"}, "v": {"G0"}}, map[string]string{"u": "a"}, map[string]string{"u": "a", "v": "b"}},
		"one tells the other apart": {
			given("a", "G0", "a", "G1", "b", "G1"),
			map[string][]string{"u": {"G0", "G1"}, "v": {"G1"}},
			nil,
			map[string]string{"u": "a", "v": "b"},
		},
		"an intruder beside the pod":                     {given("a", "G0"), map[string][]string{"u": {"G0"}, "thief": {"G0"}}, nil, nil},
		"an intruder who is elsewhere too":               {given("a", "G0"), map[string][]string{"u": {"G0"}, "thief": {"G0", "G1"}}, nil, map[string]string{"u": "a"}},
		"an intruder on one of two":                      {given("a", "G0", "a", "G1"), map[string][]string{"u": {"G0", "G1"}, "thief": {"G1"}}, nil, map[string]string{"u": "a"}},
		"two that could both be it":                      {given("a", "G0", "a", "G1"), map[string][]string{"u": {"G0"}, "v": {"G1"}}, nil, nil},
		"the node tells, against what would be inferred": {given("a", "G0"), map[string][]string{"u": {"G0"}}, map[string]string{"u": "other"}, map[string]string{"u": "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			as := assignments{list: c.list}
			as.resolve(known)
			exact := nobody
			if c.exact != nil {
				exact = func(uid string) (string, string, bool) { return "n", c.exact[uid], c.exact[uid] != "" }
			}
			as.join(c.on, exact)
			if len(as.podOf) != len(c.want) {
				t.Errorf("got %v", as.podOf)
			}
			for uid, name := range c.want {
				if as.podOf[uid] != (pod{"n", name}) {
					t.Errorf("%s is %v", uid, as.podOf[uid])
				}
			}
		})
	}
}

// Whatever runs where: no two UIDs are the same pod, and nobody is a pod that was not given
// each GPU that it runs on.
func TestNobodyIsAPodThatItCanNotBe(t *testing.T) {
	gpus := []string{"G0", "G1", "G2", "G3"}
	known := map[string]string{}
	for _, g := range gpus {
		known[g] = g
	}
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(gpus), 1, 4, rapid.ID[string])
	rapid.Check(t, func(t *rapid.T) {
		var list []string
		for _, p := range []string{"a", "b", "c"} {
			for _, g := range some.Draw(t, p) {
				list = append(list, p, g)
			}
		}
		on := map[string][]string{}
		for _, uid := range []string{"u", "v", "w", "x"} {
			on[uid] = some.Draw(t, uid)
		}
		as := assignments{list: given(list...)}
		as.resolve(known)
		as.join(on, func(string) (string, string, bool) { return "", "", false })
		seen := map[pod]string{}
		for uid, p := range as.podOf {
			if other, twice := seen[p]; twice {
				t.Fatalf("%s and %s are %v", uid, other, p)
			}
			seen[p] = uid
			for _, g := range on[uid] {
				holds := false
				for _, h := range as.holders[g] {
					holds = holds || h == p
				}
				if !holds {
					t.Fatalf("%s runs on %s, which %v was not given", uid, g, p)
				}
			}
		}
	})
}
