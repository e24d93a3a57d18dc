package muster

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
	"unsafe"
)

// The batches in hostabi/testdata are written by the host's encoder, those of other
// versions too.
func batchFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../hostabi/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParamsLabelsAndNullsAreReadFromTheHostsBatch(t *testing.T) {
	for _, name := range []string{"example.mbatch", "later.mbatch"} {
		b := batchFile(t, name)
		HandleJobs(func(j *Jobs) error {
			if j.N != 3 || j.Now != 1000 || j.Seed != 42 || j.Cycle != 7 || !slices.Equal(j.Priority, []int64{5, -1, 7}) {
				t.Errorf("%s: batch %+v", name, j)
			}
			if j.Params() != 2 || j.ParamFloat(0) != 1.5 || j.ParamText(1) != "gold" || j.ParamInt(2) != 0 || j.ParamID(2) != NoText {
				t.Errorf("%s: params %v %v %q", name, j.Params(), j.ParamFloat(0), j.ParamText(1))
			}
			team, want := j.Label(0), []string{"silver", "", "gold"}
			for i := range j.N {
				if j.Text(team[i]) != want[i] || (team[i] == NoText) != (want[i] == "") || Known(j.Use, i) != (i != 1) {
					t.Errorf("%s: row %d: label %q, use %d", name, i, j.Text(team[i]), j.Use[i])
				}
				if team[i] == j.ParamID(1) {
					j.Key0[i] = -1
				}
			}
			if j.FindText("silver") != team[0] || j.FindText("bronze") != NoText || j.Label(1) != nil || j.Label(99) != nil || Known(j.Deadline, 0) {
				t.Errorf("%s: what is not there is found", name)
			}
			j.SetReason(1, 3) // the batch has no reasons
			return nil
		})
		if status := ServeJobs(b); status != 0 {
			t.Fatalf("%s: status %d", name, status)
		}
		if keys := outputOf(t, b, 0x0181); !slices.Equal(keys, []int64{0, 0, -1}) {
			t.Errorf("%s: keys %v", name, keys)
		}
	}
}

// outputOf finds a column as a host would.
func outputOf(t *testing.T, b []byte, id uint32) []int64 {
	t.Helper()
	le := binary.LittleEndian
	first, stride := le.Uint32(b[28:]), le.Uint32(b[32:])
	for i := range uint32(le.Uint16(b[24:])) + uint32(le.Uint16(b[26:])) {
		d := b[first+i*stride:]
		if le.Uint32(d) != id {
			continue
		}
		out := make([]int64, le.Uint32(d[12:]))
		for j := range out {
			out[j] = int64(le.Uint64(b[le.Uint32(d[8:])+8*uint32(j):]))
		}
		return out
	}
	t.Fatalf("no column %#x", id)
	return nil
}

func TestABatchOfAnOlderHostHasNothingThatCameLater(t *testing.T) {
	b := batchFile(t, "v1.0.mbatch")
	HandleJobs(func(j *Jobs) error {
		if j.Queue != "root.research" || !slices.Equal(j.Wait, []int64{30, 20, 10}) || len(j.Deadline) != 3 {
			t.Errorf("batch %+v", j)
		}
		if j.Use != nil || j.UserName != nil || j.Label(0) != nil || j.Params() != 0 || Known(j.Use, 0) {
			t.Error("there is more than version 1.0 had")
		}
		copy(j.Key0, j.Wait)
		return nil
	})
	if status := ServeJobs(b); status != 0 {
		t.Fatalf("status %d", status)
	}
	if keys := outputOf(t, b, 0x0181); !slices.Equal(keys, []int64{30, 20, 10}) {
		t.Errorf("keys %v", keys)
	}
}

func TestACallWithParamsAndLabelsAllocatesNothing(t *testing.T) {
	b := batchFile(t, "example.mbatch")
	HandleJobs(func(j *Jobs) error {
		gold := j.ParamID(1)
		for i, team := range j.Label(0) {
			if j.Key0[i] = int64(j.ParamFloat(0)); team == gold {
				j.Key0[i] = int64(len(j.Text(team)))
			}
		}
		return nil
	})
	if n := testing.AllocsPerRun(10, func() { ServeJobs(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestABatchForTestsIsLikeTheHosts(t *testing.T) {
	b := NewJobs(3, 0)
	b.SetParams(1.5, "gold", 7, int64(8), true, false)
	b.SetLabel(0, "silver", "", "gold")
	b.UserName[2] = b.AddText("ada")
	if b.ParamFloat(0) != 1.5 || b.ParamInt(2) != 7 || b.ParamDuration(3) != 8 || !b.ParamBool(4) || b.ParamBool(5) || b.ParamBool(-1) {
		t.Error("params differ")
	}
	if team := b.Label(0); team[2] != b.ParamID(1) || team[1] != NoText || b.Text(team[0]) != "silver" {
		t.Errorf("labels %v", team)
	}
	if b.Text(b.UserName[2]) != "ada" || b.UserName[0] != NoText || Known(b.Use, 0) || b.Text(99) != "" {
		t.Error("texts differ")
	}
	var none Call
	if none.Text(0) != "" || none.FindText("") != NoText {
		t.Error("a batch without texts has some")
	}
}

func TestReasonsGoWhereTheHostAsksForThem(t *testing.T) {
	b, v := NewJobs(2, 0), NewVictims(2, 1)
	b.SetReason(1, 4)
	v.SetReason(0, 5)
	if b.Reason[1] != 4 || v.Reason[0] != 5 {
		t.Errorf("%v %v", b.Reason, v.Reason)
	}
	b.Reason = nil
	b.SetReason(1, 4)
}

func TestLinesAndCountsReachTheHost(t *testing.T) {
	var line string
	var counted int64
	OnLog = func(l Level, s string) { line = s[:int(l)+2] }
	OnCount = func(id int, n int64) { counted += int64(id) * n }
	t.Cleanup(func() { OnLog, OnCount = nil, nil })
	Log(Warn, "abcdef")
	Count(3, 4)
	if line != "abc" || counted != 12 {
		t.Errorf("%q, %d", line, counted)
	}
	OnLog, OnCount = nil, nil
	Log(Info, "nobody listens")
	Count(1, 1)
}

func TestSettingsThatMakeNoSenseHaveTheirStatus(t *testing.T) {
	HandleJobs(func(*Jobs) error { return ErrBadParams })
	if status := ServeJobs(wire()); status != 3 {
		t.Errorf("status %d", status)
	}
}

// FuzzServe: no bytes make the SDK leave the batch or panic outside of the policy.
func FuzzServe(f *testing.F) {
	f.Add(wire())
	f.Fuzz(func(t *testing.T, raw []byte) {
		room := make([]byte, len(raw)+64)
		skip := 64 - int(uintptr(unsafe.Pointer(&room[0]))&63)
		b := room[skip : skip+len(raw)]
		copy(b, raw)
		HandleJobs(func(j *Jobs) error {
			seen := len(j.Queue) + len(j.Text(j.ParamID(0))) + int(j.FindText("x"))
			for _, column := range [][]int64{j.Priority, j.Wait, j.Use, j.Key0} {
				for i := range column {
					seen += int(column[i])
				}
			}
			for _, id := range j.Label(0) {
				seen += len(j.Text(id))
			}
			if seen == 42 {
				return ErrAbstain
			}
			return errors.New("seen")
		})
		if status := ServeJobs(b); status > 4 {
			t.Fatalf("status %d", status)
		}
	})
}
