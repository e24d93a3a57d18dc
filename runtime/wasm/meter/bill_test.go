package meter_test

import "testing"

func TestTheBillIsWhatTheRulesSay(t *testing.T) {
	const (
		entry = 32 // the surcharge of the call from outside
		work  = 32 + 1
		turn  = 6 // loop, get, const, sub, tee, br_if
	)
	for _, c := range []struct {
		name string
		args []uint64
		want int64
	}{
		{"straight", nil, entry + 3},
		{"locals", nil, entry + 1 + 8/4},
		{"empty_loop", []uint64{1000}, entry + 1000*turn},
		{"loop_of_calls", []uint64{1000}, entry + 1000*(turn+1+work)},
		{"loop_of_leaves", []uint64{1000}, entry + 1000*(turn+1+2)},
		{"loop_of_tables", []uint64{1000}, entry + 1000*(turn+1+1+32+work)},
		{"loop_of_fills", []uint64{1000}, entry + 1000*(turn+4+6400/64)},
		{"loop_in_a_loop", []uint64{1000}, entry + 1000*(turn+2+1+work+3*(turn+1+work))},
		{"to_the_host", nil, entry + 3 + 32},
		{"grow", []uint64{0}, entry + 3},
		{"grow", []uint64{2}, entry + 3 + 2*65536/64},
		{"grow", []uint64{4}, entry + 3}, // beyond the maximum: nothing was done
	} {
		for _, interpreter := range []bool{false, true} {
			g := newRecorder(t, interpreter).start(t, instrument(t, read(t, "testdata/bill.wasm")))
			if _, used, err := g.call(1<<40, c.name, c.args...); err != nil || used != c.want {
				t.Errorf("%s%v: %d units, %v, want %d", c.name, c.args, used, err, c.want)
			}
			_, used, err := g.call(c.want-1, c.name, c.args...)
			if c.want > entry+3 && err == nil && c.name != "grow" {
				t.Errorf("%s%v: one unit less sufficed, %d used", c.name, c.args, used)
			}
		}
	}
}
