package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/musterhq/muster/policies"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// wantedOf is what an object asks for, in the words of the life cycle. The schema has
// let nothing in that can't be, but params.
func (c *Controller) wantedOf(p *api.Policy) (wanted.Spec, error) {
	s := wanted.Spec{
		Name: p.Name, Source: c.sourceOf(p), Digest: p.Spec.Digest, SignedBy: p.Spec.SignedBy,
		Signatures: int(p.Spec.Signatures), Mode: cmp.Or(p.Spec.Mode, wanted.Active), Beside: string(p.Spec.Beside),
	}
	for _, k := range p.Spec.Kinds {
		s.Kinds |= kinds[k]
	}
	var err error
	if s.ShadowFor, err = duration("shadowFor", p.Spec.ShadowFor); err != nil {
		return s, err
	}
	if l := p.Spec.Limits; l != nil {
		s.Limits.FuelBase, s.Limits.FuelPerRow = l.FuelBase, l.FuelPerRow
		if s.Limits.Timeout, err = duration("limits.timeout", l.Timeout); err != nil {
			return s, err
		}
		if l.Memory != nil {
			q := resource.Quantity(*l.Memory)
			s.Limits.Memory = q.Value()
		}
	}
	s.Params, err = params(p)
	return s, err
}

var kinds = map[api.PolicyKindName]policies.Kind{
	"job_order": policies.JobOrder, "queue_shares": policies.QueueShares, "victim_costs": policies.VictimCosts,
}

func duration(field string, d api.Duration) (time.Duration, error) {
	if d == "" {
		return 0, nil
	}
	out, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, reason.New(reason.BadParams, "spec."+field, "write 90s, 5m or 1h30m", "%q is not a duration", d)
	}
	return out, nil
}

func (c *Controller) sourceOf(p *api.Policy) wanted.Source {
	s := p.Spec.Source
	switch {
	case s.ConfigMap != nil:
		at := cmp.Or(s.ConfigMap.Namespace, c.o.Namespace) + "/" + s.ConfigMap.Name
		if s.ConfigMap.Key != "" {
			at += "/" + s.ConfigMap.Key
		}
		return wanted.Source{Kind: wanted.FromConfigMap, At: at}
	case s.OCI != nil:
		return wanted.Source{Kind: wanted.FromOCI, At: s.OCI.Reference, PlainHTTP: s.OCI.PlainHTTP}
	case s.Inline != nil:
		return wanted.Source{Kind: wanted.FromInline, At: p.Name, Text: s.Inline.Rego}
	case s.Folder != "":
		return wanted.Source{Kind: wanted.FromFolder, At: s.Folder}
	case s.Layout != "":
		return wanted.Source{Kind: wanted.FromLayout, At: s.Layout}
	}
	return wanted.Source{Kind: wanted.FromFile, At: s.File}
}

// params are the settings as JSON has them: whole numbers stay whole.
func params(p *api.Policy) (map[string]any, error) {
	if len(p.Spec.Params) == 0 {
		return nil, nil
	}
	out := make(map[string]any, len(p.Spec.Params))
	for _, name := range slices.Sorted(maps.Keys(p.Spec.Params)) {
		d := json.NewDecoder(bytes.NewReader(p.Spec.Params[name].Raw))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, reason.New(reason.BadParams, "spec.params."+name, "write one value", "it can't be read: %v", err)
		}
		switch v := v.(type) {
		case json.Number:
			out[name] = number(v)
		case bool, string:
			out[name] = v
		default:
			return nil, reason.New(reason.BadParams, "spec.params."+name, "write one value", "it must be a number, a truth value or a text, not %s", p.Spec.Params[name].Raw)
		}
	}
	return out, nil
}

func number(n json.Number) any {
	if v, err := n.Int64(); err == nil {
		return v
	}
	f, err := n.Float64()
	if err != nil {
		return fmt.Sprint(n) // Bind says what is wrong with it
	}
	return f
}
