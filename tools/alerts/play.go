// Package alerts plays rule files of Prometheus as `promtool test rules` does: the
// series of a test come in, the rules are evaluated by Prometheus' own engine, and what
// fires at a time is compared with what should.
//
// promtool itself links the clients of every cloud, 1,100 packages; this takes the
// engine, its parser and its templates. What a test file or a rule says that is not played
// here is refused, never passed over.
package alerts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v3"
)

// File is a test file in promtool's format.
type File struct {
	RuleFiles []string       `yaml:"rule_files"`
	Every     model.Duration `yaml:"evaluation_interval"`
	Tests     []Test         `yaml:"tests"`

	dir    string
	groups []rulefmt.RuleGroup
}

// Test is what comes in and what should come of it.
type Test struct {
	Name   string         `yaml:"name"`
	Every  model.Duration `yaml:"interval"` // between two samples of a series
	Series []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"` // 8x60, 0+1x60, _x4
	} `yaml:"input_series"`
	Alerts []struct {
		At       model.Duration `yaml:"eval_time"`
		Name     string         `yaml:"alertname"`
		Expected []struct {
			Labels      map[string]string `yaml:"exp_labels"`
			Annotations map[string]string `yaml:"exp_annotations"`
		} `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
}

var language = parser.NewParser(parser.Options{})

// Read reads a test file and the rules that it is about, which are checked as
// `promtool check rules` does.
func Read(path string) (*File, error) {
	text, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer text.Close() //nolint:errcheck // nothing was written
	f := &File{dir: filepath.Dir(path), Every: model.Duration(time.Minute)}
	d := yaml.NewDecoder(text)
	d.KnownFields(true)
	if err := d.Decode(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range f.RuleFiles {
		groups, errs := rulefmt.ParseFile(filepath.Join(f.dir, name), false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
		if len(errs) > 0 {
			return nil, errors.Join(errs...)
		}
		f.groups = append(f.groups, groups.Groups...)
	}
	for _, g := range f.groups {
		if g.Interval != 0 || g.QueryOffset != nil || g.Limit != 0 || len(g.Labels) > 0 {
			return nil, fmt.Errorf("group %s: interval, query_offset, limit and labels are not played here", g.Name)
		}
		for _, r := range g.Rules {
			if r.KeepFiringFor != 0 {
				return nil, fmt.Errorf("%s: keep_firing_for is not played here", r.Alert)
			}
		}
	}
	return f, nil
}

// Play plays one test, and says what was not as it should.
func (f *File) Play(ctx context.Context, t *Test) error {
	p := &player{
		engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: language}),
		active: map[string]map[string]*alert{}, told: map[string]map[uint64]labels.Labels{},
	}
	for _, s := range t.Series {
		name, values, err := language.ParseSeriesDesc(s.Series + " " + s.Values)
		if err != nil {
			return fmt.Errorf("series %s: %w", s.Series, err)
		}
		for i, v := range values {
			if !v.Omitted {
				p.store.add(name, int64(i)*time.Duration(t.Every).Milliseconds(), v.Value)
			}
		}
	}
	var wrong []error
	end := time.Duration(0)
	for _, a := range t.Alerts {
		if a.At%f.Every != 0 {
			return fmt.Errorf("%s at %s: rules are evaluated every %s", a.Name, a.At, f.Every)
		}
		end = max(end, time.Duration(a.At))
	}
	for at := time.Duration(0); at <= end; at += time.Duration(f.Every) {
		if err := p.evaluate(ctx, f.groups, at); err != nil {
			return fmt.Errorf("at %s: %w", at, err)
		}
		for _, a := range t.Alerts {
			if time.Duration(a.At) != at {
				continue
			}
			var want []string
			for _, e := range a.Expected {
				want = append(want, sentence(e.Labels, e.Annotations))
			}
			slices.Sort(want)
			if got := p.firing(a.Name); !slices.Equal(want, got) {
				wrong = append(wrong, fmt.Errorf("%s at %s: should be\n  %s\nand is\n  %s", a.Name, at, strings.Join(want, "\n  "), strings.Join(got, "\n  ")))
			}
		}
	}
	return errors.Join(wrong...)
}

// sentence is an alert in one line.
func sentence(labels, annotations map[string]string) string {
	return fmt.Sprint(labels, " ", annotations) // fmt sorts the keys of maps
}

// player is one test under way.
type player struct {
	engine *promql.Engine
	store  store
	active map[string]map[string]*alert        // by rule and labels
	told   map[string]map[uint64]labels.Labels // what each recording rule told last
}

// alert is one that is pending or fires.
type alert struct {
	since               time.Duration
	fires               bool
	labels, annotations map[string]string
}

func (p *player) firing(rule string) (out []string) {
	for _, a := range p.active[rule] {
		if a.fires {
			out = append(out, sentence(a.labels, a.annotations))
		}
	}
	slices.Sort(out)
	return out
}

// evaluate evaluates all rules once, in order.
func (p *player) evaluate(ctx context.Context, groups []rulefmt.RuleGroup, at time.Duration) error {
	for _, g := range groups {
		for i := range g.Rules {
			r := &g.Rules[i]
			v, err := p.query(ctx, r.Expr, at)
			if err == nil && r.Record != "" {
				err = p.record(r, v, at)
			} else if err == nil {
				err = p.alert(ctx, r, v, at)
			}
			if err != nil {
				return fmt.Errorf("%s%s: %w", r.Record, r.Alert, err)
			}
		}
	}
	return nil
}

func (p *player) query(ctx context.Context, text string, at time.Duration) (promql.Vector, error) {
	q, err := p.engine.NewInstantQuery(ctx, &p.store, nil, text, time.UnixMilli(at.Milliseconds()))
	if err != nil {
		return nil, err
	}
	defer q.Close()
	switch v := q.Exec(ctx); {
	case v.Err != nil:
		return nil, v.Err
	case len(v.Warnings.AsErrors()) > 0:
		return nil, errors.Join(v.Warnings.AsErrors()...)
	default:
		return v.Vector()
	}
}

// record writes what a recording rule says now, and marks what it says no more.
func (p *player) record(r *rulefmt.Rule, v promql.Vector, at time.Duration) error {
	now := map[uint64]labels.Labels{}
	for _, s := range v {
		b := labels.NewBuilder(s.Metric).Set(model.MetricNameLabel, r.Record)
		for name, text := range r.Labels {
			b.Set(name, text)
		}
		l := b.Labels()
		if _, twice := now[l.Hash()]; twice {
			return fmt.Errorf("it says %s twice", l)
		}
		now[l.Hash()] = l
		p.store.add(l, at.Milliseconds(), s.F)
	}
	for hash, l := range p.told[r.Record] {
		if _, still := now[hash]; !still {
			p.store.add(l, at.Milliseconds(), math.Float64frombits(value.StaleNaN))
		}
	}
	p.told[r.Record] = now
	return nil
}

// alert brings the alerts of a rule up to date.
func (p *player) alert(ctx context.Context, r *rulefmt.Rule, v promql.Vector, at time.Duration) error {
	now := map[string]*alert{}
	for _, s := range v {
		expand := func(text string) (string, error) {
			const names = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
			data := template.AlertTemplateData(s.Metric.Map(), nil, "", s)
			look := func(ctx context.Context, text string, _ time.Time) (promql.Vector, error) {
				return p.query(ctx, text, at)
			}
			return template.NewTemplateExpander(ctx, names+text, r.Alert, data, model.Time(at.Milliseconds()), look, &url.URL{}, nil).Expand()
		}
		a := &alert{since: at, labels: s.Metric.Map(), annotations: map[string]string{}}
		delete(a.labels, model.MetricNameLabel)
		for _, set := range []struct{ from, to map[string]string }{{r.Labels, a.labels}, {r.Annotations, a.annotations}} {
			for name, text := range set.from {
				var err error
				if set.to[name], err = expand(text); err != nil {
					return err
				}
			}
		}
		key := fmt.Sprint(a.labels)
		if now[key] != nil {
			return fmt.Errorf("it tells %s twice", key)
		}
		if before := p.active[r.Alert][key]; before != nil {
			a.since = before.since
		}
		a.fires = at-a.since >= time.Duration(r.For)
		now[key] = a
	}
	p.active[r.Alert] = now
	return nil
}
