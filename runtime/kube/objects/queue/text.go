package queue

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/kube/objects"
)

// Reasons of events on the ConfigMap.
const (
	InvalidQueues = "InvalidQueues" // the text has errors; what held before holds on
	QueuesRefused = "QueuesRefused" // valid, but jobs are in the way; tried again
	QueuesApplied = "QueuesApplied"
)

// ConfigMapOptions say where a queues.yaml is in the cluster.
type ConfigMapOptions struct {
	Client          kubernetes.Interface
	Namespace, Name string // YuniKorn's is yunikorn-configs
	// Key of the text; "" is queues.yaml. A binary KEY.gz is taken as well, as YuniKorn does.
	Key    string
	Events objects.Recorder
	Clock  clock.Clock // nil is the real one
}

// ConfigMap is a queues.yaml in a ConfigMap.
type ConfigMap struct {
	*holder
	o      ConfigMapOptions
	follow *objects.ConfigMap
	told   string // what was told last, so that it is told once
}

// NewConfigMap returns a source that reads a ConfigMap, which need not be there yet.
func NewConfigMap(o ConfigMapOptions) (*ConfigMap, error) {
	if o.Key == "" {
		o.Key = "queues.yaml"
	}
	if o.Events == nil {
		o.Events = objects.NoEvents{}
	}
	c := &ConfigMap{o: o, holder: newHolder(o.Clock, fmt.Sprintf("ConfigMap %s/%s", o.Namespace, o.Name))}
	var err error
	c.follow, err = objects.NewConfigMap(o.Client, o.Namespace, o.Name, c.wake)
	return c, err
}

// Watch hands on the tree of the text whenever that changes.
func (c *ConfigMap) Watch(ctx context.Context, apply Apply) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { c.follow.Run(ctx) })
	var again time.Duration
	for c.wait(ctx, c.alarm(again)) {
		again = 0
		if err := c.look(apply); errors.Is(err, errRefused) {
			again = retryAfter
		}
	}
	return ctx.Err()
}

// errRefused wraps what Apply has said.
var errRefused = errors.New("the new queues can't hold yet")

// look reads, judges, applies and tells.
func (c *ConfigMap) look(apply Apply) error {
	m, err := c.follow.Get()
	if err == nil && m == nil {
		err = fmt.Errorf("there is no ConfigMap %s/%s", c.o.Namespace, c.o.Name)
	}
	if err != nil {
		c.missing(err)
		return err
	}
	text, err := queuesText(m, c.o.Key)
	if err != nil {
		c.missing(err)
		c.tell(m, corev1.EventTypeWarning, InvalidQueues, err.Error())
		return err
	}
	f, problems := config.Parse(c.o.Key, text)
	if f == nil {
		c.missing(fmt.Errorf("ConfigMap %s/%s: %w", c.o.Namespace, c.o.Name, problems))
		c.tell(m, corev1.EventTypeWarning, InvalidQueues, objects.Lines(objects.MaxEvent, headline(problems), lines(problems)))
		return problems
	}
	return c.hold(m, f, problems, apply)
}

func (c *ConfigMap) hold(m *corev1.ConfigMap, f *config.File, warnings config.Problems, apply Apply) error {
	tree, err := partition(c.o.Key, f)
	if err == nil {
		if err = c.take(tree, apply); err != nil {
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
	}
	if err != nil {
		c.tell(m, corev1.EventTypeWarning, QueuesRefused, err.Error()+"; the queues before hold on")
		return err
	}
	text := "these queues hold"
	if len(warnings) > 0 {
		text = objects.Lines(objects.MaxEvent, "these queues hold, with "+count(len(warnings), "warning"), lines(warnings))
	}
	c.tell(m, corev1.EventTypeNormal, QueuesApplied, text)
	return nil
}

// tell makes one event of what is new.
func (c *ConfigMap) tell(m *corev1.ConfigMap, kind, reason, text string) {
	text = objects.Cut(objects.MaxEvent, text)
	if now := reason + "\n" + text; now != c.told {
		c.told = now
		c.o.Events.Event(objects.Reference(corev1.SchemeGroupVersion.WithKind("ConfigMap"), m), kind, reason, text)
	}
}

// queuesText finds the text under a key, packed or not.
func queuesText(m *corev1.ConfigMap, key string) ([]byte, error) {
	if text, ok := m.Data[key]; ok {
		return []byte(text), nil
	}
	if b, ok := m.BinaryData[key]; ok {
		return b, nil
	}
	packed, ok := m.BinaryData[key+".gz"]
	if !ok {
		return nil, fmt.Errorf("ConfigMap %s/%s has no key %s", m.Namespace, m.Name, key)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("key %s.gz is not packed by gzip: %w", key, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, config.MaxBytes+1)) // Parse refuses one more
	if err != nil {
		return nil, fmt.Errorf("key %s.gz is damaged: %w", key, err)
	}
	return text, nil
}

func headline(ps config.Problems) string {
	errs, warnings := ps.Count()
	text := count(errs, "error")
	if warnings > 0 {
		text += " and " + count(warnings, "warning")
	}
	return text + "; the queues before hold on"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// lines has one line for each problem, errors first.
func lines(ps config.Problems) (out []string) {
	for _, s := range []config.Severity{config.Error, config.Warning} {
		for _, p := range ps {
			if p.Severity != s {
				continue
			}
			line := fmt.Sprintf("%s:%d:%d: %s[%s]: %s", p.File, p.Line, p.Col, p.Severity, p.Code, p.Message)
			if p.Hint != "" {
				line += "; " + p.Hint
			}
			out = append(out, line)
		}
	}
	return out
}

// FileOptions say where a queues.yaml is on disk.
type FileOptions struct {
	Path  string
	Clock clock.Clock   // nil is the real one
	Every time.Duration // how often it is looked at; 0 is 2 s
	// Problems hears of what is wrong with the file, once each; nil hears nothing.
	Problems func(error)
}

// File is a queues.yaml on disk, a mounted one perhaps.
type File struct {
	*holder
	o    FileOptions
	told string
}

// NewFile returns a source that reads a file.
func NewFile(o FileOptions) *File {
	if o.Every == 0 {
		o.Every = 2 * time.Second
	}
	if o.Problems == nil {
		o.Problems = func(error) {}
	}
	return &File{o: o, holder: newHolder(o.Clock, o.Path)}
}

// Watch hands on the tree of the file whenever that changes. It looks at the file again
// and again: a watch would miss changes behind network file systems.
func (f *File) Watch(ctx context.Context, apply Apply) error {
	for ctx.Err() == nil {
		if err := f.look(apply); err != nil {
			f.missing(err)
			if err.Error() != f.told {
				f.o.Problems(err)
			}
			f.told = err.Error()
		} else {
			f.told = ""
		}
		f.wait(ctx, f.alarm(f.o.Every))
	}
	return ctx.Err()
}

func (f *File) look(apply Apply) error {
	text, err := os.ReadFile(f.o.Path)
	if err != nil {
		return err
	}
	file, problems := config.Parse(filepath.Base(f.o.Path), text)
	if file == nil {
		return problems
	}
	tree, err := partition(f.o.Path, file)
	if err != nil {
		return err
	}
	return f.take(tree, apply)
}

// noPartition is a file with other partitions only.
func noPartition(file string, f *config.File) error {
	names := make([]string, len(f.Partitions))
	for i, p := range f.Partitions {
		names[i] = p.Name
	}
	return fmt.Errorf("%s has no partition default, which all nodes of a cluster are in, but [%s]", file, strings.Join(names, ", "))
}
