package groups_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
)

var update = flag.Bool("update", false, "write what is read into the golden files")

// Each manifest's pods, read one by one and then merged, against what a person has
// looked over and found right.
func TestEveryDialectsPodsAreReadAsTheirWritersMeant(t *testing.T) {
	for _, name := range groupstest.Names() {
		t.Run(name, func(t *testing.T) {
			f, err := groupstest.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			got := describe(f)
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
}

func describe(f groupstest.Fixture) string {
	var b strings.Builder
	table, infos := f.Table(), map[string][]groups.Info{}
	var jobs []string
	for _, pod := range f.Pods {
		m, problems := groups.Read(pod, table, groups.Options{})
		fmt.Fprintf(&b, "pod %s\n", pod.Name)
		write(&b, "  ", m)
		for _, p := range problems {
			fmt.Fprintf(&b, "  ! %s\n", p)
		}
		if infos[m.Job] == nil {
			jobs = append(jobs, m.Job)
		}
		infos[m.Job] = append(infos[m.Job], m.Info)
	}
	for _, job := range jobs {
		fmt.Fprintf(&b, "job %s\n", job)
		write(&b, "  ", groups.Merge(infos[job]...))
	}
	return b.String()
}

// write prints the fields of a struct that are set, one a line.
func write(b *strings.Builder, indent string, v any) {
	s := reflect.ValueOf(v)
	for i := range s.NumField() {
		f := s.Field(i)
		if f.IsZero() {
			continue
		}
		name := s.Type().Field(i).Name
		switch x := f.Interface().(type) {
		case groups.Info:
			write(b, indent, x)
		case []groups.Group:
			for _, g := range x {
				fmt.Fprintf(b, "%sGroup %q\n", indent, g.Name)
				g.Name = ""
				write(b, indent+"  ", g)
			}
		case spec.Resources:
			fmt.Fprintf(b, "%s%s:%s\n", indent, name, amounts(x))
		case *int32:
			fmt.Fprintf(b, "%s%s: %d\n", indent, name, *x)
		case *groups.Key:
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, x)
		case *corev1.ObjectReference:
			fmt.Fprintf(b, "%s%s: %s %s %s/%s\n", indent, name, x.APIVersion, x.Kind, x.Namespace, x.Name)
		case time.Time:
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, x.UTC().Format(time.RFC3339))
		default:
			fmt.Fprintf(b, "%s%s: %v\n", indent, name, x)
		}
	}
}

func amounts(r spec.Resources) string {
	var out strings.Builder
	for _, e := range r {
		out.WriteString(" " + e.Name + "=" + amount.Format(e.Name, e.Amount))
	}
	return out.String()
}

// noObjects is a cluster without group objects.
type noObjects struct{}

func (noObjects) PodGroup(groups.API, string, string) *groups.PodGroup { return nil }

func codes(problems []groups.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return out
}

// amountsOf makes resources of names and base units.
func amountsOf(pairs ...any) spec.Resources {
	out := spec.Resources{}
	for i := 0; i < len(pairs); i += 2 {
		out = out.Set(pairs[i].(string), amount.Amount(pairs[i+1].(int)))
	}
	return out
}
