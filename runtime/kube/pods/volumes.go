package pods

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"
)

// volumes gathers what a pod's claims say about where it may run, after kube-scheduler's
// VolumeBinding, VolumeZone and VolumeRestrictions.
type volumes struct {
	reader
	pod      *corev1.Pod
	rules    *rules
	bind     []string
	once     []string // ReadWriteOncePod claims, namespace/name
	problems []Problem
}

// claims looks at every volume that is a claim.
func (v *volumes) claims() {
	var unbound []*corev1.PersistentVolumeClaim
	for i := range v.pod.Spec.Volumes {
		vol := &v.pod.Spec.Volumes[i]
		field := fmt.Sprintf("spec.volumes[%d]", i)
		name := claimName(v.pod, vol)
		if name == "" {
			continue
		}
		if c := v.claim(vol, field, name); c != nil {
			unbound = append(unbound, c)
		}
	}
	v.unbound(unbound)
}

// claimName is the claim that a volume stands for, "" if it stands for none.
func claimName(pod *corev1.Pod, vol *corev1.Volume) string {
	switch {
	case vol.PersistentVolumeClaim != nil:
		return vol.PersistentVolumeClaim.ClaimName
	case vol.Ephemeral != nil:
		return ephemeral.VolumeClaimName(pod, vol)
	}
	return ""
}

func (v *volumes) problem(p Problem) {
	p.Fatal = true
	v.problems = append(v.problems, p)
}

// claim looks at one claim and returns it if it is to be bound to the chosen node.
func (v *volumes) claim(vol *corev1.Volume, field, name string) *corev1.PersistentVolumeClaim {
	key := v.pod.Namespace + "/" + name
	c := v.objects.Claim(v.pod.Namespace, name)
	switch {
	case c == nil:
		v.problem(Problem{Code: "no-claim", Field: field, Text: "claim " + key + " does not exist yet", Wait: true})
		return nil
	case vol.Ephemeral != nil && ephemeral.VolumeIsForPod(v.pod, c) != nil:
		v.problem(Problem{
			Code: "claim-taken", Field: field, Text: "claim " + key + " belongs to another owner",
			Hint: "the volume needs a claim of that name for the pod: delete or rename the claim", Wait: true,
		})
		return nil
	case c.Status.Phase == corev1.ClaimLost:
		v.problem(Problem{Code: "claim-lost", Field: field, Text: "claim " + key + " has lost its volume", Hint: "restore the claim from a backup or delete it"})
		return nil
	case c.DeletionTimestamp != nil:
		v.problem(Problem{Code: "claim-deleted", Field: field, Text: "claim " + key + " is being deleted", Wait: true})
		return nil
	}
	if slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) {
		v.once = append(v.once, key)
	}
	return v.binding(c, field, key)
}

func (v *volumes) binding(c *corev1.PersistentVolumeClaim, field, key string) *corev1.PersistentVolumeClaim {
	_, complete := c.Annotations[volume.AnnBindCompleted]
	if c.Spec.VolumeName != "" && complete {
		v.bound(c, field)
		return nil
	}
	if c.Spec.VolumeName == "" && waits(v.class(c)) {
		v.bind = append(v.bind, key)
		return c
	}
	v.problem(Problem{
		Code: "claim-unbound", Field: field, Text: "claim " + key + " is not bound yet", Wait: true,
		Hint: "its class binds at once: look at the claim's events for why it is not",
	})
	return nil
}

func (v *volumes) class(c *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	if name := volume.GetPersistentVolumeClaimClass(c); name != "" {
		return v.objects.Class(name)
	}
	return nil
}

func waits(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// bound adds what the claim's volume asks of a node.
func (v *volumes) bound(c *corev1.PersistentVolumeClaim, field string) {
	pv := v.objects.Volume(c.Spec.VolumeName)
	if pv == nil {
		v.problem(Problem{Code: "no-volume", Field: field, Text: "volume " + c.Spec.VolumeName + " of claim " + c.Namespace + "/" + c.Name + " does not exist", Wait: true})
		return
	}
	v.rules.Zones = append(v.rules.Zones, zonesOf(pv)...)
	v.add(func() (*selector, error) { return v.reachable(pv) })
}

// add restricts the pod further; a selector that has no exact form is a problem.
func (v *volumes) add(read func() (*selector, error)) {
	s, err := read()
	if err != nil {
		v.problem(Problem{
			Code: "unsupported-volume", Field: "spec.volumes", Text: "where the volumes can be reached can't be taken into account: " + err.Error(),
			Hint: "use volumes whose node affinities name either nodes or other labels",
		})
		return
	}
	v.rules.Volumes = append(v.rules.Volumes, s)
}

// reachable is a volume's node affinity (volume.CheckNodeAffinity: matchFields don't count).
func (v *volumes) reachable(pv *corev1.PersistentVolume) (*selector, error) {
	b, err := v.reach(pv)
	if err != nil {
		return nil, err
	}
	return union(b)
}

func (v *volumes) reach(pv *corev1.PersistentVolume) ([]branch, error) {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return []branch{{names: everyName()}}, nil
	}
	return v.branches(pv.Spec.NodeAffinity.Required, false)
}

// unbound restricts the pod to nodes where all claims can get a volume: one that is
// available, or one that is made there. Claims of one class compete for its volumes.
func (v *volumes) unbound(claims []*corev1.PersistentVolumeClaim) {
	byClass := map[string][]*corev1.PersistentVolumeClaim{}
	for _, c := range claims {
		if v.settled(c) {
			continue
		}
		name := volume.GetPersistentVolumeClaimClass(c)
		byClass[name] = append(byClass[name], c)
	}
	for _, name := range slices.Sorted(maps.Keys(byClass)) {
		v.add(func() (*selector, error) { return v.ofClass(name, byClass[name]) })
	}
}

// settled claims have no choice left: their volume is being made on a node, or is kept for
// them by its claimRef.
func (v *volumes) settled(c *corev1.PersistentVolumeClaim) bool {
	class := v.class(c)
	if node := c.Annotations[volume.AnnSelectedNode]; node != "" {
		named := theseNames(node)
		v.rules.Volumes = append(v.rules.Volumes, &selector{Names: &named})
		v.add(func() (*selector, error) { return v.provisioned(class) })
		return true
	}
	for _, pv := range v.objects.VolumesOf(class.Name) {
		if volume.IsVolumeBoundToClaim(pv, c) {
			v.add(func() (*selector, error) { return v.either(pv, class) })
			return true
		}
	}
	return false
}

// either is where one volume can be reached, or another one made.
func (v *volumes) either(pv *corev1.PersistentVolume, class *storagev1.StorageClass) (*selector, error) {
	at, err := v.reach(pv)
	if err != nil {
		return nil, err
	}
	made, err := v.made(class)
	if err != nil {
		return nil, err
	}
	return union(append(made, at...))
}

const noProvisioner = "kubernetes.io/no-provisioner"

func provisions(class *storagev1.StorageClass) bool {
	return class.Provisioner != "" && class.Provisioner != noProvisioner
}

// provisioned is where a class makes volumes.
func (v *volumes) provisioned(class *storagev1.StorageClass) (*selector, error) {
	b, err := v.made(class)
	if err != nil {
		return nil, err
	}
	return union(b)
}

// made lists where a class makes volumes: its allowedTopologies, none if it makes none.
func (v *volumes) made(class *storagev1.StorageClass) ([]branch, error) {
	switch {
	case class == nil || !provisions(class):
		return nil, nil
	case len(class.AllowedTopologies) == 0:
		return []branch{{names: everyName()}}, nil
	}
	var ns corev1.NodeSelector
	for _, t := range class.AllowedTopologies {
		var term corev1.NodeSelectorTerm
		for _, e := range t.MatchLabelExpressions {
			term.MatchExpressions = append(term.MatchExpressions, corev1.NodeSelectorRequirement{Key: e.Key, Operator: corev1.NodeSelectorOpIn, Values: e.Values})
		}
		ns.NodeSelectorTerms = append(ns.NodeSelectorTerms, term)
	}
	return v.branches(&ns, false)
}

// ofClass is where claims of one class can be served together.
func (v *volumes) ofClass(name string, claims []*corev1.PersistentVolumeClaim) (*selector, error) {
	made, err := v.made(v.objects.Class(name))
	if err != nil {
		return nil, err
	}
	if len(made) == 1 && len(made[0].labels) == 0 && made[0].names.every() {
		return nil, nil // a volume is made wherever none is at hand
	}
	offers, err := v.offers(name)
	if err != nil {
		return nil, err
	}
	if len(claims) == 1 {
		all := slices.Clone(made)
		for _, o := range offers {
			if o.serves(claims[0]) {
				all = append(all, o.at...)
			}
		}
		return union(all)
	}
	return together(claims, offers, made)
}

// offered is a volume nobody has claimed, and where it can be reached.
type offered struct {
	pv *corev1.PersistentVolume
	at []branch
}

func (o *offered) serves(c *corev1.PersistentVolumeClaim) bool {
	pv, err := volume.FindMatchingVolume(c, []*corev1.PersistentVolume{o.pv}, nil, nil, false, true)
	return err == nil && pv != nil && volume.CheckAccessModes(c, pv)
}

// offers lists a class's volumes, the smallest first, as they are taken.
func (v *volumes) offers(class string) ([]offered, error) {
	var out []offered
	for _, pv := range v.objects.VolumesOf(class) {
		at, err := v.reach(pv)
		if err != nil {
			return nil, err
		}
		out = append(out, offered{pv, at})
	}
	slices.SortFunc(out, func(a, b offered) int {
		x, y := a.pv.Spec.Capacity[corev1.ResourceStorage], b.pv.Spec.Capacity[corev1.ResourceStorage]
		return cmp.Or(x.Cmp(y), cmp.Compare(a.pv.Name, b.pv.Name))
	})
	return out, nil
}

// together is where several claims get a volume each: claims and volumes are matched
// smallest first, as VolumeBinding does, once for each node that a volume is bound to and
// once for all other nodes. That is exact if volumes differ by node names only.
func together(claims []*corev1.PersistentVolumeClaim, offers []offered, made []branch) (*selector, error) {
	common, mentioned, err := onlyNames(offers, made)
	if err != nil {
		return nil, err
	}
	claims = slices.Clone(claims)
	slices.SortStableFunc(claims, func(a, b *corev1.PersistentVolumeClaim) int {
		x, y := a.Spec.Resources.Requests[corev1.ResourceStorage], b.Spec.Resources.Requests[corev1.ResourceStorage]
		return x.Cmp(y)
	})
	at := func(name string) bool { return servedAt(name, claims, offers, made) }
	others := at("") // no node has this name
	named := names{Not: others, List: keep(mentioned, func(n string) bool { return at(n) != others })}
	return union([]branch{{common, named}})
}

// onlyNames returns the labels that all branches want alike, and the names they mention.
func onlyNames(offers []offered, made []branch) (common all, mentioned []string, err error) {
	first := true
	for _, list := range append([][]branch{made}, branchesOf(offers)...) {
		for _, b := range list {
			want := b.labels.canonical()
			if !first && compareAll(want, common) != 0 {
				return nil, nil, errMixed
			}
			common, first = want, false
			mentioned = append(mentioned, b.names.List...)
		}
	}
	return common, sorted(mentioned), nil
}

func branchesOf(offers []offered) [][]branch {
	var out [][]branch
	for _, o := range offers {
		out = append(out, o.at)
	}
	return out
}

func servedAt(name string, claims []*corev1.PersistentVolumeClaim, offers []offered, made []branch) bool {
	there := func(at []branch) bool {
		return slices.ContainsFunc(at, func(b branch) bool { return b.names.has(name) })
	}
	taken := make([]bool, len(offers))
	for _, c := range claims {
		i := 0
		for i < len(offers) && (taken[i] || !there(offers[i].at) || !offers[i].serves(c)) {
			i++
		}
		switch {
		case i < len(offers):
			taken[i] = true
		case !there(made):
			return false
		}
	}
	return true
}

// zonesOf reads the zone labels of a volume; a value may list several zones
// (zone1__zone2).
func zonesOf(pv *corev1.PersistentVolume) []zone {
	var out []zone
	for _, key := range zoneLabels {
		if value, ok := pv.Labels[key]; ok {
			out = append(out, zone{key, sorted(strings.Split(value, "__"))})
		}
	}
	return out
}

var zoneLabels = []string{
	corev1.LabelFailureDomainBetaRegion, corev1.LabelFailureDomainBetaZone,
	corev1.LabelTopologyRegion, corev1.LabelTopologyZone,
}

var newerZoneLabel = map[string]string{
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
}

// inZones is VolumeZone's filter: a node without any zone label reaches every volume.
func inZones(node map[string]string, zones []zone) bool {
	labelled := slices.ContainsFunc(zoneLabels, func(k string) bool { _, ok := node[k]; return ok })
	for _, z := range zones {
		value, ok := node[z.Key]
		if !ok {
			value, ok = node[newerZoneLabel[z.Key]]
		}
		if labelled && (!ok || !slices.Contains(z.Values, value)) {
			return false
		}
	}
	return true
}
