package rego

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
)

// LoadRequest is a policy that somebody wants to load.
type LoadRequest struct {
	Name, Version string
	Source        string // with its kind: file:order.wasm
	Digest        string
	By            string   // who asks
	Signers       []string // names of the keys whose signatures hold
	Kinds         []string // job_order, queue_shares, victim_costs, rules
}

// MayLoad asks the load guard. What goes wrong in the rules is a refusal.
func (r *Rules) MayLoad(ctx context.Context, q LoadRequest) (Verdict, error) {
	input := object(field("policy", object(
		field("name", ast.String(q.Name)), field("version", ast.String(q.Version)),
		field("source", ast.String(q.Source)), field("digest", ast.String(q.Digest)), field("by", ast.String(q.By)),
		field("signers", texts(q.Signers)), field("kinds", texts(q.Kinds)),
	)))
	return r.allowed(ctx, Loading, input, "policy "+q.Name)
}
