package policy

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// Ask asks the scheduler of a cluster for one action, as reload.Ask does beside a
// policies.yaml: it sets the annotation of the Policy object. token tells this request
// from others, as a time or a random text does. What became of it is in the object's
// status, events and conditions.
func Ask(ctx context.Context, client dynamic.Interface, op, name, token string) error {
	for _, q := range requests {
		if q.op != op {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{q.annotation: token}}})
		if err != nil {
			return err
		}
		_, err = client.Resource(api.Policies).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	return fmt.Errorf("there is no operation %q; operations are rollback, promote and reload", op)
}
