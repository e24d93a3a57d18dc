package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config/grow"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
)

// What a namespace says that queues may have which its jobs create (YuniKorn's). The two
// last are old, and count where nsMax is not set.
const (
	nsPrefix     = "yunikorn.apache.org/namespace."
	nsMax        = nsPrefix + "quota"
	nsGuaranteed = nsPrefix + "guaranteed"
	nsApps       = nsPrefix + "maxApps"
	nsMaxCPU     = nsPrefix + "max.cpu"
	nsMaxMemory  = nsPrefix + "max.memory"
)

// quotaIn reads the quota that annotations give, and what is wrong with them; has says
// whether they give any. An annotation that can't be read in full counts for nothing.
func quotaIn(annotations map[string]string) (q grow.Quota, has bool, problems []string) {
	bad := func(key, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("annotation %s %s; queues are without it", key, fmt.Sprintf(format, args...)))
	}
	for _, a := range []struct {
		key  string
		into *spec.Resources
	}{{nsMax, &q.Max}, {nsGuaranteed, &q.Guaranteed}} {
		text := annotations[a.key]
		if text == "" {
			continue
		}
		r, err := amounts(text)
		if err != nil {
			bad(a.key, `is no map of amounts: %v; write {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": "8"}`, err)
			continue
		}
		*a.into, has = r, true
	}
	if old := oldAmounts(annotations); annotations[nsMax] == "" && len(old) > 0 {
		r, err := groups.ParseResources(old)
		if err != nil {
			bad(nsPrefix+"max.*", "are no amounts: %v; write 64, 256Gi", err)
		} else {
			q.Max, has = r, true
		}
	}
	if text := annotations[nsApps]; text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			bad(nsApps, "is %q, no number of jobs; write 20", text)
		} else {
			q.MaxApps, has = n, true
		}
	}
	return q, has, problems
}

// amounts reads {"cpu": "64", "memory": "256Gi"}.
func amounts(text string) (spec.Resources, error) {
	var list map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("%q is no JSON object", text)
	}
	words := make(map[string]string, len(list))
	for name, raw := range list {
		words[name] = strings.Trim(string(raw), `"`)
	}
	return groups.ParseResources(words)
}

func oldAmounts(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for name, key := range map[string]string{"cpu": nsMaxCPU, "memory": nsMaxMemory} { //muster:anyorder into a map
		if text := annotations[key]; text != "" {
			out[name] = text
		}
	}
	return out
}

// quotaOf is the quota of a namespace. What is wrong with it is told there, once.
func (s *Scheduler) quotaOf(namespace string) (grow.Quota, bool) {
	ns := s.objects.Namespace(namespace)
	if ns == nil {
		return grow.Quota{}, false
	}
	q, has, problems := quotaIn(quotas(ns))
	if text := strings.Join(problems, "\n"); s.garden.news(namespace, text) && text != "" {
		s.actor.Do(act.Work{Events: []act.Event{{
			About: corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Namespace: namespace, Name: namespace, UID: ns.UID},
			Type:  corev1.EventTypeWarning, Reason: "BadNamespaceQuota", Text: text,
		}}})
	}
	return q, has
}

// quotas are the annotations of a namespace that are about quota.
func quotas(ns *corev1.Namespace) map[string]string {
	out := map[string]string{}
	for key, text := range ns.Annotations { //muster:anyorder into a map
		if strings.HasPrefix(key, nsPrefix) {
			out[key] = text
		}
	}
	return out
}

// followNamespaces has the garden looked after when the quota of a namespace changes, and
// jobs that have no queue looked at again when it says under which one they shall be.
func (s *Scheduler) followNamespaces() error {
	_, err := s.objects.factory.Core().V1().Namespaces().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			ns, _ := obj.(*corev1.Namespace)
			if ns != nil && len(quotas(ns)) > 0 {
				s.garden.wake()
			}
			if parentQueue(ns) != "" {
				s.mirror.QueuesGrown()
			}
		},
		UpdateFunc: func(was, now any) {
			a, _ := was.(*corev1.Namespace)
			b, _ := now.(*corev1.Namespace)
			if a != nil && b != nil && !maps.Equal(quotas(a), quotas(b)) {
				s.garden.wake()
			}
			if parentQueue(a) != parentQueue(b) {
				s.mirror.QueuesGrown()
			}
		},
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if ns, ok := obj.(*corev1.Namespace); ok {
				s.garden.news(ns.Name, "") // another one of its name is told anew
			}
		},
	})
	if err != nil {
		return fmt.Errorf("listening to namespaces: %w", err)
	}
	return nil
}
