package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/musterhq/muster/builtin/spec"
)

// JobKey is the same for two jobs only if the rules cannot tell them apart: then they
// get the same verdict and place, which may be kept. Jobs differ in their ids; those
// count only where a rule looks at them.
func (r *Rules) JobKey(j *spec.Job) string {
	if !r.readsID {
		same := *j
		same.ID = ""
		j = &same
	}
	return jobOf(j).String()
}

// readsID says whether any rule can see a job's id: by name, or because it takes the
// whole job, or a part of it that is computed.
func readsID(modules map[string]*ast.Module) (reads bool) {
	for _, m := range modules {
		ast.WalkRefs(m, func(ref ast.Ref) bool {
			if !ref[0].Equal(ast.InputRootDocument) {
				return false
			}
			reads = reads || len(ref) < 3 || !named(ref[1]) || ref[1].Equal(ast.StringTerm("job")) && (!named(ref[2]) || ref[2].Equal(ast.StringTerm("id")))
			return false
		})
		ast.WalkTerms(m, func(t *ast.Term) bool { // input alone, handed to a function
			v, ok := t.Value.(ast.Var)
			reads = reads || ok && v.Equal(ast.InputRootDocument.Value)
			_, isRef := t.Value.(ast.Ref)
			return isRef // what stands in a reference was seen above
		})
	}
	return reads
}

func named(t *ast.Term) bool {
	_, ok := t.Value.(ast.String)
	return ok
}
