package act

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
)

const (
	claimPoll    = 100 * time.Millisecond
	claimPollMax = 2 * time.Second
)

// provideAll has the volumes of all pods of the unit made, or found, at their nodes.
func (r *unitRun) provideAll(ctx context.Context) error {
	type wanted struct {
		claim, node string
	}
	var all []wanted
	for i := range r.unit.Binds {
		for _, c := range r.unit.Binds[i].Claims {
			all = append(all, wanted{c, r.unit.Binds[i].Node})
		}
	}
	if len(all) == 0 {
		return nil
	}
	errs := make([]error, len(all))
	r.each(ctx, len(all), func(i int) {
		if r.err() == nil {
			errs[i] = r.provide(ctx, all[i].claim, all[i].node)
		}
		if errs[i] != nil && !errors.Is(errs[i], errStopped) {
			errs[i] = fmt.Errorf("claim %s: %w", all[i].claim, errs[i])
			r.fail(errs[i])
		}
	})
	if ctx.Err() != nil {
		return errStopped
	}
	return r.err()
}

// provide asks for the claim's volume as kube-scheduler does (KEP-490: the class has
// volumeBindingMode WaitForFirstConsumer) and waits until the claim is bound.
func (r *unitRun) provide(ctx context.Context, name, node string) error {
	t := r.a.tries(r.a.opts.ClaimPatience)
	t.pause, t.max = claimPoll, claimPollMax
	for asked := false; ; {
		claim, err := r.claim(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case claim.DeletionTimestamp != nil:
			return errors.New("is being deleted")
		case claim.Status.Phase == corev1.ClaimBound && claim.Spec.VolumeName != "":
			return r.reachable(ctx, claim, node)
		case claim.Spec.VolumeName != "": // the volume controller is at it
		case asked && claim.Annotations[volume.AnnSelectedNode] == "":
			return fmt.Errorf("no volume could be provisioned for node %s", node)
		case !asked:
			if asked, err = r.ask(ctx, claim, node); err != nil {
				return err
			}
		}
		if t.over() {
			return fmt.Errorf("no volume after %v", r.a.opts.ClaimPatience)
		}
		if err := t.rest(ctx); err != nil {
			return err
		}
	}
}

func (r *unitRun) claim(ctx context.Context, key string) (claim *corev1.PersistentVolumeClaim, err error) {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok {
		return nil, errors.New("not of the form namespace/name")
	}
	err = r.a.persist(ctx, r.turn, func(ctx context.Context) (err error) {
		claim, err = r.a.api.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	return claim, err
}

// ask has a volume provisioned at the node, or, for a class without provisioner, reserves
// one that is there. It says whether the node was written to the claim.
func (r *unitRun) ask(ctx context.Context, claim *corev1.PersistentVolumeClaim, node string) (annotated bool, err error) {
	class := volume.GetPersistentVolumeClaimClass(claim)
	provisioner := ""
	err = r.a.persist(ctx, r.turn, func(ctx context.Context) error {
		c, err := r.a.api.StorageV1().StorageClasses().Get(ctx, class, metav1.GetOptions{})
		if err == nil {
			provisioner = c.Provisioner
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("storage class %q: %w", class, err)
	}
	if provisioner == volume.NotSupportedProvisioner {
		return false, r.reserve(ctx, claim, class, node)
	}
	patch := marshal(map[string]any{"metadata": map[string]any{
		"uid": claim.UID, "resourceVersion": claim.ResourceVersion,
		"annotations": map[string]string{volume.AnnSelectedNode: node},
	}})
	err = r.a.persist(ctx, r.turn, func(ctx context.Context) error {
		_, err := r.a.api.CoreV1().PersistentVolumeClaims(claim.Namespace).
			Patch(ctx, claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
	if fateOf(err) == conflict {
		return false, nil // read it again
	}
	return err == nil, err
}

// reserve binds an available volume to the claim from the volume's side; the volume
// controller does the rest.
func (r *unitRun) reserve(ctx context.Context, claim *corev1.PersistentVolumeClaim, class, node string) error {
	at, err := r.node(ctx, node)
	if err != nil {
		return err
	}
	volumes, err := r.volumes(ctx, class)
	if err != nil {
		return err
	}
	found, err := volume.FindMatchingVolume(claim, volumes, at, nil, true, true)
	if err != nil {
		return err
	}
	if found == nil {
		return fmt.Errorf("no volume of class %q is free on node %s", class, node)
	}
	bound, dirty, err := volume.GetBindVolumeToClaim(found, claim)
	if err != nil || !dirty {
		return err
	}
	err = r.a.persist(ctx, r.turn, func(ctx context.Context) error {
		_, err := r.a.api.CoreV1().PersistentVolumes().Update(ctx, bound, metav1.UpdateOptions{})
		return err
	})
	if f := fateOf(err); f == conflict || f == gone {
		return nil // taken by another claim; look for one again
	}
	return err
}

func (r *unitRun) node(ctx context.Context, name string) (node *corev1.Node, err error) {
	err = r.a.persist(ctx, r.turn, func(ctx context.Context) (err error) {
		node, err = r.a.api.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err
	})
	return node, err
}

// volumes are those of the class, newest state first hand: a stale list would offer a
// volume that is taken.
func (r *unitRun) volumes(ctx context.Context, class string) (out []*corev1.PersistentVolume, err error) {
	var list *corev1.PersistentVolumeList
	err = r.a.persist(ctx, r.turn, func(ctx context.Context) (err error) {
		list, err = r.a.api.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].Spec.StorageClassName == class {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// reachable checks that the volume that the claim got can be used on the node.
func (r *unitRun) reachable(ctx context.Context, claim *corev1.PersistentVolumeClaim, node string) error {
	var pv *corev1.PersistentVolume
	err := r.a.persist(ctx, r.turn, func(ctx context.Context) (err error) {
		pv, err = r.a.api.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
		return err
	})
	if err != nil || pv.Spec.NodeAffinity == nil {
		return err
	}
	at, err := r.node(ctx, node)
	if err != nil {
		return err
	}
	if err := volume.CheckNodeAffinity(pv, at.Labels); err != nil {
		return fmt.Errorf("its volume %s can't be used on node %s: %w", pv.Name, node, err)
	}
	return nil
}
