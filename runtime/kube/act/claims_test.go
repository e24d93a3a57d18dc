package act

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
)

func storageWorld(s *server, provisioner string) {
	class := "fast"
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	s.add(
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: provisioner},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"host": "n1"}}},
		&corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "c", UID: "c"},
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: size},
			},
		},
	)
	for _, node := range []string{"n0", "n1"} {
		s.add(&corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv-" + node},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: class, Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "host", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
				}}}},
			},
			Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
		})
	}
}

// controller binds the claim to the volume, as the volume controller does.
func bindClaim(s *server, volumeName string) {
	var claim corev1.PersistentVolumeClaim
	s.read("persistentvolumeclaims/team/c", &claim)
	claim.Spec.VolumeName, claim.Status.Phase = volumeName, corev1.ClaimBound
	s.add(&claim)
}

func claimed(s *server) *corev1.PersistentVolumeClaim {
	var claim corev1.PersistentVolumeClaim
	s.read("persistentvolumeclaims/team/c", &claim)
	return &claim
}

func withClaim(p Pod, others ...Pod) Unit {
	u := gang("j", "n1", append([]Pod{p}, others...)...)
	u.Binds[0].Claims = []string{"team/c"}
	return u
}

func TestAClaimIsProvisionedAtTheNodeBeforeAnyPodOfTheGangIsBound(t *testing.T) {
	s, h := newServer(t), newHeard()
	storageWorld(s, "csi.example.com")
	pods := s.pods(3)
	a, stop := running(t, s, Options{Clock: hasty{}, NoEvents: true}, h)
	defer stop()
	a.Do(Work{Units: []Unit{withClaim(pods[0], pods[1:]...)}})
	eventually(t, "asked for", func() bool { return claimed(s).Annotations[volume.AnnSelectedNode] == "n1" })
	if len(s.history("bind")) > 0 {
		t.Fatal("bound before the claim")
	}
	bindClaim(s, "pv-n1")
	eventually(t, "bound", func() bool { return h.boundCount() == 3 })
}

func TestAClassWithoutProvisionerGetsAVolumeOfTheNode(t *testing.T) {
	s, h := newServer(t), newHeard()
	storageWorld(s, volume.NotSupportedProvisioner)
	a, stop := running(t, s, Options{Clock: hasty{}, NoEvents: true}, h)
	defer stop()
	a.Do(Work{Units: []Unit{withClaim(s.pods(1)[0])}})
	var pv corev1.PersistentVolume
	eventually(t, "reserved", func() bool {
		s.read("persistentvolumes//pv-n1", &pv)
		return pv.Spec.ClaimRef != nil
	})
	if pv.Spec.ClaimRef.UID != "c" || pv.Spec.ClaimRef.Namespace != "team" {
		t.Errorf("%+v", pv.Spec.ClaimRef)
	}
	bindClaim(s, "pv-n1")
	eventually(t, "bound", func() bool { return h.boundCount() == 1 })
}

func TestClaimsThatCannotBeBoundFailTheUnitBeforeItBegins(t *testing.T) {
	for name, test := range map[string]struct {
		provisioner string
		before      func(*server)
		after       func(*server) // the annotation was written
		want        string
	}{
		"no such claim": {before: func(s *server) { s.mu.Lock(); delete(s.objects, "persistentvolumeclaims/team/c"); s.mu.Unlock() }, want: "not found"},
		"no such class": {before: func(s *server) { s.mu.Lock(); delete(s.objects, "storageclasses//fast"); s.mu.Unlock() }, want: `storage class "fast"`},
		"no free volume on the node": {provisioner: volume.NotSupportedProvisioner, before: func(s *server) {
			s.mu.Lock()
			delete(s.objects, "persistentvolumes//pv-n1")
			s.mu.Unlock()
		}, want: "free on node n1"},
		"the provisioner gives up": {after: func(s *server) {
			c := claimed(s)
			delete(c.Annotations, volume.AnnSelectedNode)
			s.add(c)
		}, want: "could be provisioned for node n1"},
		"it never comes":           {want: "no volume after"},
		"a volume of another node": {after: func(s *server) { bindClaim(s, "pv-n0") }, want: "can't be used on node n1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := newServer(t), newHeard()
			if test.provisioner == "" {
				test.provisioner = "csi.example.com"
			}
			storageWorld(s, test.provisioner)
			if test.before != nil {
				test.before(s)
			}
			pods := s.pods(3)
			a, stop := running(t, s, Options{Clock: hasty{}, NoEvents: true, ClaimPatience: 5 * time.Minute}, h)
			defer stop()
			a.Do(Work{Units: []Unit{withClaim(pods[0], pods[1:]...)}})
			if test.after != nil {
				eventually(t, "asked for", func() bool { return claimed(s).Annotations[volume.AnnSelectedNode] == "n1" })
				test.after(s)
			}
			eventually(t, "heard", func() bool { return h.settled() == 3 && s.count("configmaps") == 0 })
			for _, p := range pods {
				if err := h.failed[p.UID]; err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: %v, want %q", p.Name, fmt.Sprint(err), test.want)
				}
			}
			if len(s.history("bind")) > 0 {
				t.Error("a pod was bound")
			}
		})
	}
}
