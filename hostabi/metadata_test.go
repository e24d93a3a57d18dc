package hostabi_test

import (
	"errors"
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

func TestBadMetadataIsRefusedWithPlaceAndHint(t *testing.T) {
	for _, c := range []struct{ json, where string }{
		{``, "byte 0"},
		{`{"name":3}`, "byte"},
		{`{} {}`, "byte"},
		{`{"abi":{"major":2}}`, "abi"},
		{`{"columns":{"required":["job.wait","job.mood"]}}`, "columns.required[1]"},
		{`{"columns":{"required":["job.key0"]}}`, "columns.required[0]"},
		{`{"keys":[{},{},{},{},{}]}`, "keys"},
		{`{"keys":[{"type":"u8"}]}`, "keys[0]"},
		{`{"name":"` + strings.Repeat("x", hostabi.MaxMetadataBytes) + `"}`, "size"},
	} {
		_, err := hostabi.ParseMetadata([]byte(c.json))
		var me *hostabi.MetadataError
		if !errors.As(err, &me) || !strings.HasPrefix(me.Where, c.where) || me.Hint == "" {
			t.Errorf("%.60s: got %v at %+v, want %s", c.json, err, me, c.where)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`{"name":"a","abi":{"major":1,"minMinor":0},"columns":{"required":["job.wait"]},"keys":[{"type":"f64"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		md, err := hostabi.ParseMetadata(raw)
		if err == nil && len(md.Keys) > 4 {
			t.Fatalf("%d keys", len(md.Keys))
		}
	})
}
