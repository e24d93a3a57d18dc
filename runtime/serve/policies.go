package serve

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/serve/view"
)

// Policy is what is known of one policy: what queues use it, what it did, and, of one
// that was loaded, how far its versions have come.
type Policy struct {
	Name string `json:"name"` // by which queues name it
	// Kinds are what queues use it for: job_order, queue_shares, victim_costs.
	Kinds []string `json:"kinds,omitempty"`
	// BuiltIn says that nothing of the name is loaded.
	BuiltIn bool     `json:"built_in"`
	Queues  []string `json:"queues,omitempty"` // that use it, by path
	// Uses are the versions that were asked, whatever the name that they call themselves.
	Uses []view.PolicyUse `json:"uses,omitempty"`
	// Active, Shadow, Standby and Incoming are the versions of what was loaded.
	Active   *reload.Version `json:"active,omitempty"`
	Shadow   *reload.Version `json:"shadow,omitempty"`
	Standby  *reload.Version `json:"standby,omitempty"`
	Incoming *reload.Version `json:"incoming,omitempty"`
	// Refused is the newest version, if it was refused: what decides is older.
	Refused *reload.Version `json:"refused,omitempty"`
}

func (a *api) policies(r *http.Request, q query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	return list(s, Policies(s, a.source.Loaded(), a.source.Recorder.Policies()), q), nil
}

// Policies joins what queues name, what is loaded and what was asked, by name.
func Policies(s *view.Snapshot, loaded reload.Status, uses []view.PolicyUse) []Policy {
	byName := map[string]*Policy{}
	get := func(name string) *Policy {
		if byName[name] == nil {
			byName[name] = &Policy{Name: name, BuiltIn: true}
		}
		return byName[name]
	}
	for i := range s.Queues {
		queue := &s.Queues[i]
		if i == 0 {
			get(queue.Policies.Fairness).use(queue.Path, "queue_shares")
		}
		if queue.Leaf {
			get(queue.Policies.JobOrder).use(queue.Path, "job_order")
			get(queue.Policies.Victims).use(queue.Path, "victim_costs")
		}
	}
	of := map[string]string{} // digest → name under which it was loaded
	for _, l := range loaded.Policies {
		p := get(l.Name)
		p.BuiltIn, p.Active, p.Shadow, p.Standby, p.Incoming = false, l.Active, l.Shadow, l.Standby, l.Incoming
		p.Refused = refused(&l)
		for _, v := range []*reload.Version{l.Standby, l.Active} {
			if v != nil && v.Digest != "" {
				of[v.Digest] = l.Name
			}
		}
	}
	for _, u := range uses {
		p := get(cmp.Or(of[u.Digest], u.Name))
		p.Uses = append(p.Uses, u)
	}
	out := make([]Policy, 0, len(byName))
	for _, p := range byName {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// refused is the newest version of a policy, if it was refused.
func refused(p *reload.PolicyStatus) *reload.Version {
	if len(p.Past) == 0 || p.Past[0].State != reload.Refused {
		return nil
	}
	newest := p.Past[0]
	for _, v := range []*reload.Version{p.Active, p.Shadow} {
		if v != nil && v.Number > newest.Number {
			return nil
		}
	}
	return &newest
}

func (p *Policy) use(queue, kind string) {
	if !slices.Contains(p.Kinds, kind) {
		p.Kinds = append(p.Kinds, kind)
	}
	if !slices.Contains(p.Queues, queue) {
		p.Queues = append(p.Queues, queue)
	}
}
