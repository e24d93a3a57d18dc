package view

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
)

type policyKey struct{ kind, name, digest string }

// MaxPolicies is how many versions of policies a recorder tells apart.
const MaxPolicies = 512

// PolicyUse is what one version of a policy did since the recorder began.
type PolicyUse struct {
	Kind      string    `json:"kind"` // job_order, queue_shares, victim_costs, or what rules do
	Name      string    `json:"name"`
	Version   string    `json:"version,omitempty"`
	Digest    string    `json:"digest,omitempty"`
	Calls     int64     `json:"calls"`
	Rows      int64     `json:"rows"`
	Fuel      int64     `json:"fuel,omitempty"`
	Protected int64     `json:"protected,omitempty"` // rows that rules kept from eviction
	Fallbacks int64     `json:"fallbacks"`           // calls that the built-in had to answer
	LastCode  string    `json:"last_code,omitempty"` // of the last failure
	Failure   string    `json:"failure,omitempty"`
	FailedAt  time.Time `json:"failed_at,omitzero"`
	LastAsked time.Time `json:"last_asked,omitzero"`
}

func (r *Recorder) keepPolicy(u *plan.PolicyUse, now spec.Time) {
	key := policyKey{u.Kind, u.Name, u.Digest}
	p := r.policies[key]
	if p == nil {
		r.makeRoom()
		p = &PolicyUse{Kind: u.Kind, Name: u.Name, Digest: u.Digest}
		r.policies[key] = p
	}
	p.Version = u.Version
	p.Calls += int64(u.Calls)
	p.Rows += int64(u.Rows)
	p.Fuel += u.Fuel
	p.Protected += int64(u.Protected)
	p.Fallbacks += int64(u.Fallbacks)
	p.LastAsked = stamp(now)
	if u.Fallbacks > 0 {
		p.LastCode, p.Failure, p.FailedAt = u.Code, u.Failure, stamp(now)
	}
}

// makeRoom drops the version that was not asked for the longest time.
func (r *Recorder) makeRoom() {
	if len(r.policies) < MaxPolicies {
		return
	}
	var oldest policyKey
	var at time.Time
	for k, p := range r.policies {
		if at.IsZero() || p.LastAsked.Before(at) || p.LastAsked.Equal(at) && k.less(oldest) {
			oldest, at = k, p.LastAsked
		}
	}
	delete(r.policies, oldest)
}

func (k policyKey) less(o policyKey) bool {
	return cmp.Or(strings.Compare(k.kind, o.kind), strings.Compare(k.name, o.name), strings.Compare(k.digest, o.digest)) < 0
}

// Policies lists the versions that were asked, by kind and name, the last asked first.
func (r *Recorder) Policies() []PolicyUse {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]PolicyUse, 0, len(r.policies))
	for _, p := range r.policies {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b PolicyUse) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name),
			b.LastAsked.Compare(a.LastAsked), strings.Compare(a.Digest, b.Digest))
	})
	return out
}
