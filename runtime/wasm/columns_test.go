package wasm

import (
	"reflect"
	"slices"
	"testing"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// notColumns are fields of the batches that are no columns: the header's, and what
// the host keeps for itself. Keys are four columns, NKeys is job.key_count, each label is
// a column of its own, Strings is the dictionary.
var notColumns = []string{"Call", "N", "R", "Keys", "NKeys", "Strings", "Labels", "Serial", "Order"}

func TestEachFieldOfABatchIsAColumnAndTheOtherWayAround(t *testing.T) {
	for k, batch := range map[hostabi.Kind]any{
		hostabi.KindJobOrder: policies.JobBatch{}, hostabi.KindQueueShares: policies.QueueBatch{}, hostabi.KindVictimCosts: policies.VictimBatch{},
	} {
		ids := map[string]hostabi.ColumnID{
			"Resources": hostabi.QueueResources, "Capacity": hostabi.QueueCapacity,
		}
		typ := reflect.TypeOf(batch)
		fields := 0
		for i := range typ.NumField() {
			if name := typ.Field(i).Name; !slices.Contains(notColumns, name) {
				fields++
				if _, ok := ids[name]; !ok && !hasColumn(k, name) {
					t.Errorf("%s: no column for the field %s", k, name)
				}
			}
		}
		keys := 0
		if k == hostabi.KindJobOrder {
			keys = policies.MaxKeys + 2 // key0 to key3, key_count, key_format
		}
		if got := len(hostabi.Columns(k)); got != fields+keys {
			t.Errorf("%s: %d columns for %d fields and %d columns of keys", k, got, fields, keys)
		}
	}
}

// hasColumn compares a Go field with a name like job.user_share.
func hasColumn(k hostabi.Kind, field string) bool {
	return slices.ContainsFunc(hostabi.Columns(k), func(c hostabi.Column) bool {
		var name []rune
		for _, r := range c.Name[len(batchName(k))+1:] {
			if r != '_' {
				name = append(name, r)
			}
		}
		return lowered(field) == string(name)
	})
}

func batchName(k hostabi.Kind) string {
	return [...]string{"", "job", "queue", "victim"}[k]
}

func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func TestEveryInputColumnIsSent(t *testing.T) {
	jobs, queues, victims := &policies.JobBatch{}, &policies.QueueBatch{}, &policies.VictimBatch{}
	for _, b := range []any{jobs, queues, victims} {
		v := reflect.ValueOf(b).Elem()
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Slice {
				v.Field(i).Set(reflect.MakeSlice(v.Field(i).Type(), 1, 1))
			}
		}
	}
	for _, k := range hostabi.Kinds() {
		for _, c := range hostabi.Columns(k) {
			if c.Output || c.Type == hostabi.Dict32 {
				continue
			}
			data := map[hostabi.Kind][]byte{
				hostabi.KindJobOrder: jobInput(jobs, c.ID), hostabi.KindQueueShares: queueInput(queues, c.ID), hostabi.KindVictimCosts: victimInput(victims, c.ID),
			}[k]
			if len(data) != c.Type.Size() {
				t.Errorf("%s: %d bytes for one element of %s", c.Name, len(data), c.Type)
			}
		}
	}
}

func TestOnlyColumnsThatTheMetadataNameAreSent(t *testing.T) {
	md, err := hostabi.ParseMetadata([]byte(`{"columns":{"required":["job.priority"]},"reasons":["","old"]}`))
	if err != nil {
		t.Fatal(err)
	}
	f := newFrame(hostabi.KindJobOrder, &md)
	var names []string
	for _, p := range f.Parts {
		names = append(names, p.Column.Name)
	}
	want := []string{"job.priority", "job.key0", "job.key1", "job.key2", "job.key3", "job.key_count", "job.key_format", "job.reason"}
	if !slices.Equal(names, want) {
		t.Errorf("sent %v, want %v", names, want)
	}
}
