package cycle

import (
	"slices"

	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// texts numbers the names and labels that job orders read. A job's texts are looked
// up once, when a policy that wants them first sees the job; a batch then has the
// texts of its own rows only, in order of their first use, so that a policy can't see
// which texts were known before.
type texts struct {
	number map[string]uint32
	all    []string
	age    uint64 // grows when all is begun anew

	place []uint32 // text → 1 + its index in the batch, 0 if it is not in it
	used  []uint32 // texts in the batch
}

// noText stands for a label that a job does not have.
const noText = policies.NoString

// textsKept is how many texts are kept at least, in use or not.
const textsKept = 1 << 16

// jobTexts is what Job.Texts holds.
type jobTexts struct {
	age    uint64
	user   uint32
	keys   []string
	labels []uint32 // of keys
}

// fill gives the batch the texts that the policy says it reads, and no others. known is
// how many jobs there are in all.
func (t *texts) fill(b *policies.JobBatch, jobs []*world.Job, known int, info *policies.Info) {
	users := info.Reads("job.user_name")
	b.Strings, b.UserName, b.Labels = b.Strings[:0], b.UserName[:0], b.Labels[:0]
	if !users && len(info.Labels) == 0 {
		return
	}
	t.begin(known)
	if users {
		size(&b.UserName, len(jobs))
	}
	b.Labels = slices.Grow(b.Labels, len(info.Labels))[:len(info.Labels)]
	for k, key := range info.Labels {
		b.Labels[k].Key = key
		size(&b.Labels[k].Value, len(jobs))
	}
	for i, j := range jobs {
		own := t.of(j, info.Labels)
		if users {
			b.UserName[i] = t.put(b, own.user)
		}
		for k, label := range own.labels {
			b.Labels[k].Value[i] = t.put(b, label)
		}
	}
}

// begin starts a batch. Texts of jobs that have gone are dropped now and then, with
// all others: those still in use come back.
func (t *texts) begin(known int) {
	for _, text := range t.used {
		t.place[text] = 0
	}
	t.used = t.used[:0]
	if t.number == nil || len(t.all) > textsKept && len(t.all) > 8*known {
		t.number, t.all, t.place = map[string]uint32{}, t.all[:0], t.place[:0]
		t.age++
	}
}

// of looks a job's texts up, if that was not done before.
func (t *texts) of(j *world.Job, keys []string) *jobTexts {
	own, ok := j.Texts.(*jobTexts)
	if ok && own.age == t.age && slices.Equal(own.keys, keys) {
		return own
	}
	own = &jobTexts{age: t.age, user: t.intern(j.Spec.User), keys: keys}
	for _, key := range keys {
		label := noText
		if value, ok := j.Spec.Labels[key]; ok {
			label = t.intern(value)
		}
		own.labels = append(own.labels, label)
	}
	j.Texts = own
	return own
}

func (t *texts) intern(text string) uint32 {
	n, ok := t.number[text]
	if !ok {
		n = uint32(len(t.all))
		t.number[text] = n
		t.all, t.place = append(t.all, text), append(t.place, 0)
	}
	return n
}

// put returns the index of a text in the batch.
func (t *texts) put(b *policies.JobBatch, text uint32) uint32 {
	if text == noText {
		return policies.NoString
	}
	if t.place[text] == 0 {
		b.Strings = append(b.Strings, t.all[text])
		t.used = append(t.used, text)
		t.place[text] = uint32(len(b.Strings))
	}
	return t.place[text] - 1
}
