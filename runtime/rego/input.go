package rego

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// inputSchema lets the compiler refuse a misspelt input field, which would be
// undefined at run time and silently take its rule out.
const inputSchema = `{
  "type": "object", "additionalProperties": false,
  "$defs": {"job": {
    "type": "object", "additionalProperties": false,
    "properties": {
      "id": {"type": "string"}, "queue": {"type": "string"}, "user": {"type": "string"},
      "groups": {"type": "array", "items": {"type": "string"}},
      "priority": {"type": "integer"},
      "gpus": {"type": "number"}, "gpu_types": {"type": "array", "items": {"type": "string"}},
      "resources": {"type": "object", "additionalProperties": {"type": "number"}},
      "size": {"type": "integer"}, "min": {"type": "integer"},
      "labels": {"type": "object", "additionalProperties": {"type": "string"}},
      "duration_s": {"type": "number"}, "preemptible": {"type": "boolean"}
    }
  }},
  "properties": {
    "job": {"$ref": "#/$defs/job"},
    "units": {"type": "array", "items": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "job": {"$ref": "#/$defs/job"}, "queue": {"type": "string"},
        "tasks": {"type": "integer"}, "gpus": {"type": "number"},
        "running_s": {"type": "number"}, "lost_gpu_s": {"type": "number"}, "evicted": {"type": "integer"},
        "surplus": {"type": "boolean"}, "leader": {"type": "boolean"},
        "use_known": {"type": "boolean"}, "use": {"type": "number"}, "idle_s": {"type": "number"}
      }
    }},
    "now_s": {"type": "number"},
    "policy": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "name": {"type": "string"}, "version": {"type": "string"}, "source": {"type": "string"}, "digest": {"type": "string"},
        "by": {"type": "string"}, "signers": {"type": "array", "items": {"type": "string"}},
        "kinds": {"type": "array", "items": {"type": "string"}}
      }
    }
  }
}`

func inputSchemas() (*ast.SchemaSet, error) {
	var schema any
	if err := json.Unmarshal([]byte(inputSchema), &schema); err != nil {
		return nil, err
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, schema)
	return set, nil
}

// inputOf builds the input document of a job, {"job": {…}}. Every field is always
// there, so that none is undefined.
func inputOf(j *spec.Job) ast.Value { return object(field("job", jobOf(j))) }

func jobOf(j *spec.Job) ast.Value {
	var size, minimum amount.Amount
	var types []string
	var total spec.Resources
	for i := range j.Tasks {
		g := &j.Tasks[i]
		size, minimum = size.Add(amount.Amount(g.Size)), minimum.Add(amount.Amount(g.Min))
		types = append(types, g.GPUTypes...)
		for _, r := range g.Request {
			have, _ := total.Get(r.Name)
			total = total.Set(r.Name, have.Add(r.Amount.Mul(g.Size)))
		}
	}
	slices.Sort(types)
	gpus, _ := total.Get(amount.GPUName)
	return object(
		field("id", ast.String(j.ID)), field("queue", ast.String(j.Queue)), field("user", ast.String(j.User)),
		field("groups", texts(j.Groups)),
		field("priority", ast.Number(fmt.Sprint(j.Priority))),
		field("gpus", decimal(int64(gpus), 1000)), field("gpu_types", texts(slices.Compact(types))),
		field("resources", resourcesOf(total)),
		field("size", ast.Number(fmt.Sprint(int64(size)))), field("min", ast.Number(fmt.Sprint(int64(minimum)))),
		field("labels", labelsOf(j.Labels)),
		field("duration_s", decimal(j.Duration, spec.Second)),
		field("preemptible", ast.Boolean(!j.NonPreemptible)),
	)
}

func object(fields ...[2]*ast.Term) ast.Value { return ast.NewObject(fields...) }

func field(name string, v ast.Value) [2]*ast.Term {
	return [2]*ast.Term{ast.StringTerm(name), ast.NewTerm(v)}
}

func texts(list []string) ast.Value {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = ast.StringTerm(s)
	}
	return ast.NewArray(terms...)
}

func labelsOf(labels map[string]string) ast.Value {
	fields := make([][2]*ast.Term, 0, len(labels))
	for k, v := range labels {
		fields = append(fields, field(k, ast.String(v)))
	}
	return object(fields...)
}

// resourcesOf gives each amount in the unit that people write: cores, GPUs,
// bytes, counts.
func resourcesOf(total spec.Resources) ast.Value {
	fields := make([][2]*ast.Term, len(total))
	for i, r := range total {
		unit := int64(1)
		if r.Name == amount.CPUName || amount.IsGPU(r.Name) {
			unit = 1000
		}
		fields[i] = field(r.Name, decimal(int64(r.Amount), unit))
	}
	return object(fields...)
}

// decimal is v/unit as an exact decimal number; unit is a power of ten. What is
// negative counts as 0: no quantity of a job is.
func decimal(v, unit int64) ast.Value {
	v = max(v, 0)
	whole := fmt.Sprint(v / unit)
	if v%unit == 0 {
		return ast.Number(whole)
	}
	digits := fmt.Sprint(unit + v%unit)[1:] // keeps the leading zeros
	return ast.Number(json.Number(whole + "." + strings.TrimRight(digits, "0")))
}
