package crd

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// change is how much two statuses differ, by how long the difference may wait.
type change int

const (
	same    change = iota
	wording        // texts for people only
	news
	urgent // a GPU's health, or which GPUs there are
)

// Bounds of the CRD. What is longer is cut: a status that is refused tells nothing.
const (
	maxGPUs       = 64
	maxInstances  = 16
	maxPeers      = 64
	maxConditions = 16
	maxMessage    = 1024
)

// complete brings a report into the form of the CRD.
func complete(s *api.GPUNodeStatus) {
	s.GPUs = unique(s.GPUs, maxGPUs, func(g api.GPU) string { return g.UUID })
	for i := range s.GPUs {
		g := &s.GPUs[i]
		g.MIG = unique(g.MIG, maxInstances, func(m api.MIGInstance) string { return m.UUID })
		g.Peers = unique(g.Peers, maxPeers, func(p string) string { return p })
		if g.Health.State == "" {
			g.Health.State = api.GPUUnknown
		}
		if g.Health.State != api.GPUHealthy && g.Health.Reason == "" {
			g.Health.Reason = "Untold"
		}
		if g.Health.Since != nil {
			g.Health.Since = seconds(g.Health.Since.Time)
		}
	}
	s.Conditions = unique(s.Conditions, maxConditions, func(c metav1.Condition) string { return c.Type })
	for i := range s.Conditions {
		c := &s.Conditions[i]
		c.Message = cut(c.Message, maxMessage)
		if c.Reason == "" { // which the API demands
			c.Reason = map[bool]string{true: "Up", false: "Untold"}[c.Status == metav1.ConditionTrue]
		}
	}
	slices.SortFunc(s.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	s.Summarize()
}

// unique keeps the first of each name that has one, and at most so many.
func unique[T any](list []T, most int, name func(T) string) []T {
	seen := map[string]bool{"": true}
	var out []T
	for _, e := range list {
		if n := name(e); !seen[n] && len(out) < most {
			seen[n] = true
			out = append(out, e)
		}
	}
	return out
}

// cut shortens a text, between two of its characters.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most - len("…")
	for end > 0 && text[end]&0xc0 == 0x80 {
		end--
	}
	return text[:end] + "…"
}

// seconds is a time as the API keeps it.
func seconds(t time.Time) *metav1.Time {
	s := metav1.NewTime(t.UTC().Truncate(time.Second))
	return &s
}

// since keeps the times of what did not change: conditions keep that of their status, and
// GPUs that of their health, across a restart of the probe too.
func since(s, before *api.GPUNodeStatus, now int64) {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		old := at(before.Conditions, func(o metav1.Condition) bool { return o.Type == c.Type })
		if old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		} else if c.LastTransitionTime.IsZero() {
			c.LastTransitionTime = *seconds(time.Unix(0, now))
		}
		c.LastTransitionTime = *seconds(c.LastTransitionTime.Time)
		c.ObservedGeneration = s.ObservedGeneration
	}
	for i := range s.GPUs {
		g := &s.GPUs[i]
		old := at(before.GPUs, func(o api.GPU) bool { return o.UUID == g.UUID })
		if old != nil && old.Health.State == g.Health.State && old.Health.Reason == g.Health.Reason && old.Health.Since != nil {
			g.Health.Since = seconds(old.Health.Since.Time)
		} else if g.Health.Since == nil {
			g.Health.Since = seconds(time.Unix(0, now))
		}
	}
}

// at returns the first element that is meant, nil if there is none.
func at[T any](list []T, is func(T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return &list[i]
	}
	return nil
}

// compare says how two statuses differ.
func compare(a, b *api.GPUNodeStatus) change {
	switch {
	case text(a) == text(b):
		return same
	case health(a) != health(b):
		return urgent
	case text(mute(a)) == text(mute(b)):
		return wording
	}
	return news
}

// text is a status as it is sent, by which two are compared.
func text(s *api.GPUNodeStatus) string {
	t, err := json.Marshal(s)
	if err != nil {
		return err.Error() // which is written, and refused with a reason
	}
	return string(t)
}

// health is what others must know at once.
func health(s *api.GPUNodeStatus) string {
	type one struct{ UUID, State, Reason, Recovery string }
	var all []one
	for _, g := range s.GPUs {
		all = append(all, one{g.UUID, string(g.Health.State), g.Health.Reason, string(g.Health.RecoveryAction)})
	}
	t, _ := json.Marshal(all) // texts
	return string(t)
}

// mute is a status without texts for people.
func mute(s *api.GPUNodeStatus) *api.GPUNodeStatus {
	s = s.DeepCopy()
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
	return s
}
