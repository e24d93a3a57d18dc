package suite

import (
	"context"
	"slices"
	"testing"

	"github.com/musterhq/muster/policies"
)

// bad is a policy that breaks one law on purpose.
type bad struct {
	law     string
	subject Subject
	also    []string   // further laws that it can't help breaking
	prepare func(*run) // what a Subject can't say
	laws    []string   // that are tried; all if empty
}

// TestEveryLawBites holds each law to its purpose: there is a policy that breaks it, and
// that breaks nothing else but what is listed with it.
func TestEveryLawBites(t *testing.T) {
	all := slices.Concat(badLoads(), badInState(), badTotality(), badOrders(), badShares(), badVictims(), badModules(), badHosts())
	for _, b := range all {
		t.Run(b.law, func(t *testing.T) {
			want := append([]string{b.law}, b.also...)
			slices.Sort(want)
			if got := brokenBy(t, b); !slices.Equal(got, want) {
				t.Errorf("it breaks %q, want %q", got, want)
			}
		})
	}
	for _, l := range Laws() {
		if !slices.ContainsFunc(all, func(b bad) bool { return b.law == l.ID }) {
			t.Errorf("nothing here breaks %s: nobody knows whether it bites", l.ID)
		}
	}
}

// brokenBy checks a bad policy and returns the ids of the laws that it breaks.
func brokenBy(t *testing.T, b bad) []string {
	r, err := start(t.Context(), b.subject, Options{Laws: b.laws})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if b.prepare != nil {
		b.prepare(r)
	}
	results, err := r.laws(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, res := range results {
		if res.Outcome == Broken && res.counts() {
			ids = append(ids, res.Law.ID)
			t.Logf("%s: %s", res.Law.ID, res.Failure.What)
		}
	}
	slices.Sort(ids)
	return ids
}

func badLoads() []bad {
	return []bad{
		{law: lawAccepted, subject: Subject{Module: []byte("\x00asm\x01\x00\x00\x00"), Name: "empty"}},
		{law: "load/describes-itself", subject: ordering("", nil, fifo)},
		{law: "load/claims-known-laws", subject: ordering("boaster", []string{"always-right"}, fifo)},
	}
}

// ordered is a job order made of one function.
type ordered struct {
	policies.Unimplemented
	info policies.Info
	keys func(b *policies.JobBatch, keys []int64) error
}

func (o *ordered) Info() policies.Info { return o.info }

func (o *ordered) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	b.NKeys = 1
	return o.keys(b, b.Keys[0][:b.N])
}

// ordering is the subject of such a policy that claims some laws.
func ordering(name string, laws []string, keys func(b *policies.JobBatch, keys []int64) error) Subject {
	return Subject{New: func() policies.Policy {
		return &ordered{info: policies.Info{Name: name, Kinds: policies.JobOrder, Digest: "builtin", Laws: laws}, keys: keys}
	}}
}

// byRow orders by a number of each row.
func byRow(name string, laws []string, key func(b *policies.JobBatch, row int) int64) Subject {
	return ordering(name, laws, func(b *policies.JobBatch, keys []int64) error {
		for i := range keys {
			keys[i] = key(b, i)
		}
		return nil
	})
}

func fifo(_ *policies.JobBatch, keys []int64) error {
	clear(keys)
	return nil
}

func refuse(k policies.Kind, code policies.Code) error {
	return &policies.CallError{Policy: "bad", Kind: k, Code: code, Detail: "on purpose"}
}
