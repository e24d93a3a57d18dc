package mbatch

import (
	"bytes"
	"slices"
	"testing"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

var kinds = []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts}

func sample(t *testing.T, k policies.Kind, n int) (gen.Batch, []byte) {
	t.Helper()
	b := gen.Of(k, gen.Rand(3, k.String(), n), n, policies.Info{Labels: []string{"team", "zone"}})
	buf, err := Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, buf
}

func TestABatchThatIsWrittenIsReadBack(t *testing.T) {
	for _, k := range kinds {
		for _, n := range []int{1, 2, 7, 100} {
			b, buf := sample(t, k, n)
			got, err := Decode(buf)
			if err != nil {
				t.Fatal(err)
			}
			if b.Jobs != nil { // a batch does not say the keys of labels
				for i := range b.Jobs.Labels {
					b.Jobs.Labels[i].Key = got.Jobs.Labels[i].Key
				}
			}
			if !gen.Same(b, got) {
				t.Errorf("%s of %d rows is another batch", k, n)
			}
			if q := got.Queues; q != nil && (!slices.Equal(q.Resources, b.Queues.Resources) || q.HalfLife != b.Queues.HalfLife) {
				t.Errorf("resources %q, half-life %d", q.Resources, q.HalfLife)
			}
			again, err := Encode(b)
			if err != nil || !bytes.Equal(buf, again) {
				t.Errorf("%s: equal batches give other bytes", k)
			}
		}
	}
}

func TestAFileThatIsNoBatchIsRefused(t *testing.T) {
	_, good := sample(t, policies.JobOrder, 3)
	for name, buf := range map[string][]byte{"empty": nil, "cut off": good[:200], "text": bytes.Repeat([]byte("hello "), 100)} {
		if _, err := Decode(buf); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// Whatever the form, a reader that keeps to the ABI sees the same batch.
func TestOtherFormsSayTheSame(t *testing.T) {
	for _, k := range kinds {
		_, buf := sample(t, k, 9)
		want, err := hostabi.Decode(buf)
		if err != nil {
			t.Fatal(err)
		}
		for name, form := range map[string][]byte{"longer": Longer(buf), "with an unknown column": WithUnknown(buf)} {
			got, err := hostabi.Decode(form)
			if err != nil {
				t.Fatalf("%s %s: %v", k, name, err)
			}
			for _, c := range want.Columns {
				o, ok := got.Column(c.ID)
				if !ok || !bytes.Equal(o.Data, c.Data) || !bytes.Equal(o.Validity, c.Validity) || o.Flags != c.Flags {
					t.Errorf("%s %s: %s differs", k, name, c.ID)
				}
			}
			if !slices.EqualFunc(got.Dicts, want.Dicts, slices.Equal) {
				t.Errorf("%s %s: texts differ", k, name)
			}
		}
	}
}

func TestColumnsCanBeLeftOutOrWithoutValues(t *testing.T) {
	_, buf := sample(t, policies.JobOrder, 5)
	out, err := hostabi.Decode(LeftOut(buf, hostabi.JobDeadline, hostabi.JobUse))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := out.Column(hostabi.JobDeadline); ok {
		t.Error("the deadline is still there")
	}
	absent, err := hostabi.Decode(Absent(buf, hostabi.JobUse))
	if err != nil {
		t.Fatal(err)
	}
	c, ok := absent.Column(hostabi.JobUse)
	if !ok || c.Flags&hostabi.FlagAbsent == 0 || c.Validity != nil || !bytes.Equal(c.Data, make([]byte, 40)) {
		t.Errorf("%+v", c)
	}
}

func TestTouchedFindsWhatIsNoOutput(t *testing.T) {
	_, sent := sample(t, policies.VictimCosts, 4)
	got := slices.Clone(sent)
	for _, column := range Outputs(got, got) {
		for i := range column {
			column[i] = 1
		}
	}
	got[offErrorLen] = 3
	if at := Touched(sent, got); at >= 0 {
		t.Errorf("byte %d is an output", at)
	}
	b, err := hostabi.Decode(got)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := b.Column(hostabi.VictimRunning)
	c.Data[0]++
	if at := Touched(sent, got); at < 0 || Where(sent, at) != "victim.running" {
		t.Errorf("byte %d, in %s", at, Where(sent, max(0, at)))
	}
}
