package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/gpuprobe/podresources"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// pod is a namespace and a name.
type pod struct{ namespace, name string }

// none is no pod.
var none pod

// assignments is what the kubelet gave to whom, and which owner is which pod: the kubelet
// knows names, cgroups know UIDs.
//
// Where the node tells the name of a UID (Config.PodName), that holds. Otherwise it is
// inferred: a UID is the pod when that is the only one left that was given all GPUs that it
// runs on, and on one of them it is the only UID left. That takes an intruder for the pod
// that has not begun yet, if it uses that pod's GPUs only; it ends when the pod begins, as
// then nothing is the only one.
type assignments struct {
	at      time.Time // of the answer; zero if there is none (any more)
	list    []podresources.Assignment
	holders map[string][]pod // by UUID, sorted
	has     map[pod][]string // UUIDs
	unknown int              // devices that NVML does not know

	podOf map[string]pod // by UID
	uidOf map[pod]string // also of pods whose processes have ended
}

// resolve gives the devices of the list the UUIDs that NVML knows.
func (as *assignments) resolve(known map[string]string) {
	as.holders, as.has, as.unknown = map[string][]pod{}, map[pod][]string{}, 0
	for _, x := range as.list {
		uuid, ok := known[x.Device]
		if !ok {
			if _, last, found := cutLast(x.Device, "/"); found { // a DRA pool and device
				uuid, ok = known[last]
			}
		}
		if !ok {
			as.unknown++
			continue
		}
		p := pod{x.Namespace, x.Pod}
		if !slices.Contains(as.holders[uuid], p) {
			as.holders[uuid] = append(as.holders[uuid], p)
		}
		if !slices.Contains(as.has[p], uuid) {
			as.has[p] = append(as.has[p], uuid)
		}
	}
	for p := range as.uidOf {
		if as.has[p] == nil {
			delete(as.uidOf, p)
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// names are all that a device may be called by the kubelet, to its UUID.
func names(slots []*slot) map[string]string {
	known := map[string]string{}
	for i, s := range slots {
		n := strconv.Itoa(i)
		for _, g := range s.gpus() {
			known[g.UUID] = g.UUID
			if g.Parent != "" { // GKE, and drivers before 470
				known[fmt.Sprintf("nvidia%s/gi%d", n, g.gi)] = g.UUID
				known[fmt.Sprintf("MIG-%s/%d/%d", g.Parent, g.gi, g.ci)] = g.UUID
			}
		}
		if s.whole != nil {
			known["nvidia"+n], known["gpu-"+n] = s.whole.UUID, s.whole.UUID
		}
	}
	return known
}

// join finds out which UID is which pod. on are the GPUs of each UID that has processes,
// exact what the node tells.
func (as *assignments) join(on map[string][]string, exact func(uid string) (namespace, name string, ok bool)) {
	as.podOf = map[string]pod{}
	taken := map[pod]bool{}
	var open []string
	for uid := range on {
		if ns, name, ok := exact(uid); ok {
			as.podOf[uid], taken[pod{ns, name}] = pod{ns, name}, true
		} else {
			open = append(open, uid)
		}
	}
	slices.Sort(open)
	for again := true; again; {
		again = false
		// Who is on GPUs that no pod is left for is none of them.
		open = slices.DeleteFunc(open, func(uid string) bool { return len(as.left(on[uid], taken)) == 0 })
		crowd := map[string]int{} // how many of them are on each GPU
		for _, uid := range open {
			for _, gpu := range on[uid] {
				crowd[gpu]++
			}
		}
		claims := map[pod][]string{}
		for _, uid := range open {
			alone := slices.ContainsFunc(on[uid], func(gpu string) bool { return crowd[gpu] == 1 })
			if left := as.left(on[uid], taken); alone && len(left) == 1 {
				claims[left[0]] = append(claims[left[0]], uid)
			}
		}
		for p, uids := range claims {
			if len(uids) == 1 { // a pod has one UID: of several nobody can say which
				as.podOf[uids[0]], taken[p], again = p, true, true
			}
		}
		open = slices.DeleteFunc(open, func(uid string) bool { return as.podOf[uid] != none })
	}
	for uid, p := range as.podOf {
		if as.uidOf == nil {
			as.uidOf = map[pod]string{}
		}
		if as.has[p] != nil {
			as.uidOf[p] = uid
		}
	}
	for p, uid := range as.uidOf { // of processes that have ended
		if _, known := as.podOf[uid]; !known {
			as.podOf[uid] = p
		}
	}
}

// left are the pods that were given each GPU of a UID and have no UID yet.
func (as *assignments) left(gpus []string, taken map[pod]bool) (list []pod) {
	for i, gpu := range gpus {
		if i == 0 {
			list = slices.Clone(as.holders[gpu])
		}
		list = slices.DeleteFunc(list, func(p pod) bool { return taken[p] || !slices.Contains(as.holders[gpu], p) })
	}
	return list
}

// assigned says whether the kubelet gave a GPU to an owner; nil if that can't be told.
func (as *assignments) assigned(owner string, g *gpu) *bool {
	if as.at.IsZero() {
		return nil
	}
	if strings.HasPrefix(owner, "host:") {
		return to(false)
	}
	holders := as.holders[g.UUID]
	if g.Parent != "" {
		holders = append(slices.Clone(holders), as.holders[g.Parent]...)
	}
	if p := as.nameOf(owner); p != none {
		return to(slices.Contains(holders, p))
	}
	for _, p := range holders {
		if _, known := as.uidOf[p]; !known {
			return nil // it may be this one
		}
	}
	return to(false)
}

// ownerOf is what a pod is called that was given a GPU.
func (as *assignments) ownerOf(p pod) string {
	if uid, ok := as.uidOf[p]; ok {
		return uid
	}
	return "pod:" + p.namespace + "/" + p.name
}

// nameOf is the pod of an owner, if that is known.
func (as *assignments) nameOf(owner string) pod {
	if text, ok := strings.CutPrefix(owner, "pod:"); ok {
		namespace, name, _ := strings.Cut(text, "/")
		return pod{namespace, name}
	}
	return as.podOf[owner]
}

// forget drops the pods of which live has no UID: one with that name is another one now.
func (as *assignments) forget(live []string) {
	for p, uid := range as.uidOf {
		if !slices.Contains(live, uid) {
			delete(as.uidOf, p)
		}
	}
}

// listed is an answer of the kubelet, and the UIDs of the pods that live, if they were
// asked for and are known.
type listed struct {
	list []podresources.Assignment
	live []string
	err  error
}

// list asks the kubelet, on a goroutine of its own.
func (a *Agent) list(ctx context.Context) {
	a.listing = true
	late := a.c.Clock.Wake(a.c.Clock.Now() + int64(a.c.ListEvery/2))
	live := a.livePods()
	done := make(chan listed, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		l := listed{live: live()}
		l.list, l.err = a.c.Lister.List(ctx)
		done <- l
	}()
	go func() {
		defer cancel()
		select {
		case l := <-done:
			send(ctx, a.lists, l)
		case <-late:
			send(ctx, a.lists, listed{err: fmt.Errorf("the kubelet did not answer within %v", a.c.ListEvery/2)})
		case <-ctx.Done():
		}
	}()
}

// livePods returns what asks for the pods that live. That may be dear, so it is asked only
// where a pod is known by processes that have ended.
func (a *Agent) livePods() func() []string {
	finder, can := a.c.Finder.(interface{ Pods() ([]string, error) })
	ended := false
	for _, uid := range a.assignments.uidOf {
		ended = ended || !a.owners[uid]
	}
	if !can || !ended {
		return func() []string { return nil }
	}
	return func() []string {
		live, err := finder.Pods()
		if err != nil {
			a.c.Log.Debug("living pods are not known", "error", err)
		}
		return live
	}
}

// takeList takes the kubelet's answer. One that fails leaves the last for a while.
func (a *Agent) takeList(l listed, now time.Time) {
	a.listing, a.nextList = false, now.Add(a.c.ListEvery)
	if len(l.live) > 0 {
		a.assignments.forget(l.live)
	}
	if l.err == nil {
		a.assignments.at, a.assignments.list = now, l.list
		a.set(&a.sources.podresources, true, "", "", now)
		a.resolve()
		return
	}
	reason := "Unavailable"
	var told *podresources.Error
	switch {
	case errors.Is(l.err, errNoKubelet):
		reason = "NotConfigured"
	case errors.As(l.err, &told):
		reason = told.Reason
	}
	a.set(&a.sources.podresources, false, reason, l.err.Error(), now)
}

// resolve joins anew: another list, other GPUs or other processes.
func (a *Agent) resolve() {
	as := &a.assignments
	as.resolve(names(a.slots))
	on := map[string][]string{}
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			for _, m := range g.members {
				if uid := m.info.owner.Pod; uid != "" && !slices.Contains(on[uid], g.UUID) {
					on[uid] = append(on[uid], g.UUID)
				}
			}
		}
	}
	as.join(on, a.c.PodName)
}

// idlers are the uses of pods that were given a GPU and have no process on it.
func (a *Agent) idlers(g *gpu, now time.Time) {
	for _, p := range a.assignments.holders[g.UUID] {
		owner := a.assignments.ownerOf(p)
		u := a.useOf(owner, g.UUID, now)
		if u.touched == a.sweep {
			continue
		}
		u.touched = a.sweep
		u.Processes, u.Launches, u.NoLaunchSince = 0, nil, time.Time{}
		up := a.sources.ebpf
		nobodys := g.strange || g.hidden // so it may be the pod's
		e := evidence{at: g.At, fresh: g.fresh, told: g.fresh && g.listed && !nobodys, covered: up.Up && !nobodys, since: up.Since}
		if e.told {
			e.busy, e.basis, e.memory = to(uint32(0)), wire.Basis_PROCESS, to(uint64(0))
		}
		u.judge(e, a.sweptAt, now)
	}
}
