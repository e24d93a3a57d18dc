package rego

import "testing"

func TestJobsThatRulesCanNotTellApartHaveOneKey(t *testing.T) {
	for name, c := range map[string]struct {
		rules string
		same  bool
	}{
		"rules that look at the user":          {`allow if input.job.user == "ann"`, true},
		"rules that look at the id":            {`allow if startswith(input.job.id, "a")`, false},
		"by its name in brackets":              {`allow if input.job["id"] != ""`, false},
		"computed":                             {`allow if { some k; input.job[k] == "x" }`, false},
		"the whole job":                        {`allow if count(input.job) > 3`, false},
		"the whole input":                      {`allow if count(input) > 0`, false},
		"a part of the input that is computed": {`allow if { some k; input[k].user == "x" }`, false},
		"the whole job, given a name":          {`allow if { j := input.job; j.id == "x" }`, false},
	} {
		r := load(t, rules(c.rules), nil)
		a, b := job(), job()
		b.ID += "-2"
		if same := r.JobKey(a) == r.JobKey(b); same != c.same {
			t.Errorf("%s: same key %v, want %v", name, same, c.same)
		}
		b.User = "other"
		if r.JobKey(a) == r.JobKey(b) {
			t.Errorf("%s: one key for two users", name)
		}
	}
}
