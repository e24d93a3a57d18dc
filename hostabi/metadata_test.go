package hostabi_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/hostabi"
)

func TestMetadataThatNamesColumnsGetsOnlyThose(t *testing.T) {
	md, err := hostabi.ParseMetadata([]byte(`{"name":"aging","columns":{"required":["job.wait"],"optional":["job.mood","job.user"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	var inputs []string
	for _, c := range hostabi.Columns(hostabi.KindJobOrder) {
		if !c.Output && md.Wants(c) {
			inputs = append(inputs, c.Name)
		}
	}
	if got := strings.Join(inputs, " "); got != "job.user job.wait" {
		t.Errorf("it is sent %q", got)
	}
}

func TestWithoutMetadataAllColumnsAreSentButReasons(t *testing.T) {
	var md hostabi.Metadata
	for _, k := range hostabi.Kinds() {
		for _, c := range hostabi.Columns(k) {
			if isReason := strings.HasSuffix(c.Name, ".reason"); md.Wants(c) == isReason {
				t.Errorf("%s is sent: %v", c.Name, md.Wants(c))
			}
		}
	}
}

func TestKeysOfTheMetadataBecomeTheKeyFormat(t *testing.T) {
	md, err := hostabi.ParseMetadata([]byte(`{"keys":[{"type":"f64"},{"order":"desc"},{"type":"f64","order":"desc"},{}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := md.KeyFormat(), uint32(0b00_11_10_01); got != want {
		t.Errorf("format %b, want %b", got, want)
	}
}

func TestBadMetadataIsRefusedWithPlaceCodeAndHint(t *testing.T) {
	for _, c := range []struct{ json, where, code, say string }{
		{``, "byte 0", hostabi.MetaNotJSON, "EOF"},
		{`{"name":"a"`, "byte 11", hostabi.MetaNotJSON, "unexpected"},
		{`{} {}`, "byte 4", hostabi.MetaNotJSON, "after"},
		{`[]`, "byte 1", hostabi.MetaNotJSON, "array"},
		{`{"name":3}`, "name", hostabi.MetaType, "a number (byte 9), want a text"},
		{`{"fuel":{"perRow":1.5}}`, "fuel.perRow", hostabi.MetaType, "want a whole number"},
		{`{"params":{}}`, "params", hostabi.MetaType, "want a list"},
		{`{"abi":[]}`, "abi", hostabi.MetaType, "want an object"},
		{`{"name":"` + strings.Repeat("x", hostabi.MaxMetadataBytes) + `"}`, "size", hostabi.MetaTooLarge, "limit"},
		{`{"name":"two words"}`, "name", hostabi.MetaName, "two words"},
		{`{"name":"../x"}`, "name", hostabi.MetaName, "../x"},
		{`{"version":"1\n2"}`, "version", hostabi.MetaText, "can't be printed"},
		{`{"source":"` + strings.Repeat("x", 5000) + `"}`, "source", hostabi.MetaText, "5000 bytes"},
		{`{"abi":{"major":2}}`, "abi", hostabi.MetaABI, "needs ABI 2.0, this host speaks 1.1"},
		{`{"abi":{"major":1,"minMinor":2}}`, "abi", hostabi.MetaABI, "needs ABI 1.2"},
		{`{"abi":{"minMinor":-1}}`, "abi", hostabi.MetaABI, "-1"},
		{`{"columns":{"required":["job.wait","job.mood"]}}`, "columns.required[1]", hostabi.MetaColumn, "job.mood"},
		{`{"columns":{"required":["job.key0"]}}`, "columns.required[0]", hostabi.MetaColumn, "output"},
		{`{"columns":{"optional":["job.key0"]}}`, "columns.optional[0]", hostabi.MetaColumn, "output"},
		{`{"columns":{"required":["job.wait"],"optional":["job.wait"]}}`, "columns.optional[0]", hostabi.MetaTwice, "before"},
		{`{"columns":{"optional":["job.label:"]}}`, "columns.optional[0]", hostabi.MetaColumn, "no key of a label"},
		{`{"columns":{"optional":["job.label:a b"]}}`, "columns.optional[0]", hostabi.MetaColumn, "no key of a label"},
		{`{"columns":{"optional":[` + list(65, `"job.label:k%d"`) + `]}}`, "columns", hostabi.MetaLimit, "65 labels"},
		{`{"keys":[{},{},{},{},{}]}`, "keys", hostabi.MetaLimit, "5 keys"},
		{`{"keys":[{"type":"u8"}]}`, "keys[0]", hostabi.MetaKey, "u8"},
		{`{"keys":[{},{"order":"up"}]}`, "keys[1]", hostabi.MetaKey, "up"},
		{`{"reasons":["","\u0007"]}`, "reasons[1]", hostabi.MetaText, "can't be printed"},
		{`{"fuel":{"base":-1}}`, "fuel", hostabi.MetaFuel, "-1"},
		{`{"laws":[""]}`, "laws[0]", hostabi.MetaName, "empty"},
		{`{"laws":["row-independent","row-independent"]}`, "laws[1]", hostabi.MetaTwice, "before"},
		{`{"params":[` + list(65, `{"name":"p%d","type":"bool","default":true}`) + `]}`, "params", hostabi.MetaLimit, "65 params"},
		{`{"params":[{"name":"3d","type":"bool","default":true}]}`, "params[0].name", hostabi.MetaParam, "3d"},
		{`{"params":[{"name":"a","type":"bool","default":true},{"name":"a","type":"bool","default":true}]}`, "params[1].name", hostabi.MetaTwice, "before"},
		{`{"params":[{"name":"a","type":"float","default":1}]}`, "params[0].type", hostabi.MetaParam, "float"},
		{`{"params":[{"name":"a","type":"i64"}]}`, "params[0].default", hostabi.MetaParam, "no default"},
		{`{"params":[{"name":"a","type":"i64","default":1.5}]}`, "params[0].default", hostabi.MetaParam, "1.5 is not of type i64"},
		{`{"params":[{"name":"a","type":"i64","default":9223372036854775808}]}`, "params[0].default", hostabi.MetaParam, "not of type i64"},
		{`{"params":[{"name":"a","type":"f64","default":1e999}]}`, "params[0].default", hostabi.MetaParam, "not of type f64"},
		{`{"params":[{"name":"a","type":"duration","default":"soon"}]}`, "params[0].default", hostabi.MetaParam, "not of type duration"},
		{`{"params":[{"name":"a","type":"string","default":"x","min":"a"}]}`, "params[0].min", hostabi.MetaParam, "no order"},
		{`{"params":[{"name":"a","type":"i64","default":1,"min":2}]}`, "params[0].default", hostabi.MetaParam, "below the minimum 2"},
		{`{"params":[{"name":"a","type":"duration","default":"2h","max":"90m"}]}`, "params[0].default", hostabi.MetaParam, "above the maximum 90m"},
		{`{"params":[{"name":"a","type":"f64","default":1,"min":2,"max":1}]}`, "params[0].max", hostabi.MetaParam, "below the minimum"},
	} {
		_, err := hostabi.ParseMetadata([]byte(c.json))
		var me *hostabi.MetadataError
		if !errors.As(err, &me) {
			t.Errorf("%.60s: got %v", c.json, err)
			continue
		}
		if me.Where != c.where || me.Code != c.code || !strings.Contains(me.Problem, c.say) || me.Hint == "" {
			t.Errorf("%.60s: got %+v, want %s at %s: %s", c.json, me, c.code, c.where, c.say)
		}
	}
}

// list joins n numbered texts.
func list(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(parts, ",")
}

func TestAllProblemsOfMetadataAreSaidAtOnce(t *testing.T) {
	md := hostabi.Metadata{Name: "a b", Fuel: hostabi.Fuel{Base: -1}, Laws: []string{""}, Params: []hostabi.Param{{}}}
	var where []string
	for _, p := range md.Problems() {
		where = append(where, p.Where)
	}
	if got := strings.Join(where, " "); got != "name params[0].name params[0].type fuel laws[0]" {
		t.Error(got)
	}
}

func TestValuesOfParamsHaveTheFormsOfTheirTypes(t *testing.T) {
	md, err := hostabi.ParseMetadata([]byte(`{"params":[
		{"name":"top","type":"i64","default":9007199254740993},
		{"name":"most","type":"i64","default":5.0,"max":1e15},
		{"name":"weight","type":"f64","default":2,"min":0},
		{"name":"floor","type":"duration","default":"90s","min":0,"max":"2h"},
		{"name":"label","type":"string","default":""},
		{"name":"strict","type":"bool","default":false}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := [][3]any{{int64(9007199254740993), nil, nil}, {int64(5), nil, int64(1e15)}, {2.0, 0.0, nil}, {"90s", int64(0), "2h"}, {"", nil, nil}, {false, nil, nil}}
	for i, p := range md.Params {
		if got := [3]any{p.Default, p.Min, p.Max}; got != want[i] {
			t.Errorf("%s: %#v, want %#v", p.Name, got, want[i])
		}
	}
}

func TestEachValueHasItsSlot(t *testing.T) {
	text := func(s string) uint32 { return uint32(len(s)) }
	for _, c := range []struct {
		value any
		want  uint64
	}{{int64(-1), 1<<64 - 1}, {1.0, 0x3ff0000000000000}, {true, 1}, {false, 0}, {"root", 4}} {
		if got := hostabi.Slot(c.value, text); got != c.want {
			t.Errorf("%v: %#x, want %#x", c.value, got, c.want)
		}
	}
}

func TestMetadataForALaterHostAreReadByThisOne(t *testing.T) {
	md, err := hostabi.ParseMetadata([]byte(`{"name":"a","mood":"good","kinds":["job_order","weather"],
		"columns":{"optional":["job.mood"]},"laws":["kind-to-animals"],"abi":{"major":1,"minMinor":0,"best":7}}`))
	if err != nil || len(md.Kinds) != 2 {
		t.Errorf("%+v, %v", md, err)
	}
}

// FuzzParseMetadata: nothing panics, and what is accepted comes back the same from its
// own JSON.
func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`{"name":"a","abi":{"major":1,"minMinor":0},"columns":{"required":["job.wait","job.label:x"]},"keys":[{"type":"f64"}]}`))
	f.Add([]byte(`{"params":[{"name":"a","type":"duration","default":"5m","min":0},{"name":"b","type":"f64","default":1e3}],"laws":["x"],"fuel":{"base":1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		md, err := hostabi.ParseMetadata(raw)
		if err != nil {
			var me *hostabi.MetadataError
			if !errors.As(err, &me) || me.Code == "" || me.Hint == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		again, err := md.JSON()
		var me *hostabi.MetadataError
		if errors.As(err, &me) && me.Code == hostabi.MetaTooLarge {
			return // escapes can make it longer
		}
		if err != nil {
			t.Fatal(err)
		}
		back, err := hostabi.ParseMetadata(again)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		third, err := back.JSON()
		if err != nil || string(third) != string(again) {
			t.Fatalf("%v\n%s\n%s", err, again, third)
		}
	})
}
