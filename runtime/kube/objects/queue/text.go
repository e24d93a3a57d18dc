package queue

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/kube/objects"
)

// Reasons of events on the ConfigMap.
const (
	InvalidQueues = "InvalidQueues" // the text has errors; what held before holds on
	MissingQueues = "MissingQueues" // there is no such ConfigMap; likewise
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
	// Own is Muster's namespace: there the text is kept that was good last (LastGoodName).
	// "" keeps none.
	Own   string
	Log   *slog.Logger // nil hears nothing
	Clock clock.Clock  // nil is the real one
}

// ConfigMap is a queues.yaml in a ConfigMap.
type ConfigMap struct {
	*holder
	o      ConfigMapOptions
	follow *objects.ConfigMap
	memory *memory

	told   string      // what was told last, so that it is told once
	warned bool        // that was a warning
	anew   atomic.Bool // a warning is told once more
	past   *good       // what holds, if it is from the memory
	// defaulted says that what holds is YuniKorn's default, as nothing was ever configured.
	defaulted bool

	good atomic.Pointer[good] // what holds, nil if nothing does
	keep chan struct{}        // holds a token while good is another one
}

// NewConfigMap returns a source that reads a ConfigMap, which need not be there yet.
func NewConfigMap(o ConfigMapOptions) (*ConfigMap, error) {
	if o.Key == "" {
		o.Key = "queues.yaml"
	}
	if o.Events == nil {
		o.Events = objects.NoEvents{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &ConfigMap{
		o: o, holder: newHolder(o.Clock, fmt.Sprintf("ConfigMap %s/%s", o.Namespace, o.Name)),
		memory: &memory{client: o.Client, namespace: o.Own, log: o.Log}, keep: make(chan struct{}, 1),
	}
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
		switch err := c.look(ctx, apply); {
		case errors.Is(err, errRefused):
			again = retryAfter
		case errors.Is(err, errUnknown):
			again = askAgain
		default:
			again = 0
		}
	}
	return ctx.Err()
}

// errRefused wraps what Apply has said.
var errRefused = errors.New("the new queues can't hold yet")

// errUnknown says that it is not known whether there is something to go on with.
var errUnknown = errors.New("the API server did not answer")

// askAgain is how long it waits before it asks again.
const askAgain = time.Second

// fault is why a ConfigMap gives no queues.
type fault struct {
	reason string   // of the event
	what   string   // one line: "6 errors and 2 warnings"
	lines  []string // one for each problem, where there are several
	until  string   // when that ends
	none   bool     // nothing is configured, which is no error
	err    error    // all of it
}

// look reads, judges, applies and tells.
func (c *ConfigMap) look(ctx context.Context, apply Apply) error {
	if c.anew.Swap(false) && c.warned {
		c.told = ""
	}
	m, err := c.follow.Get()
	if err != nil && !apierrors.IsForbidden(err) {
		c.missing(err) // there may be one
		return err
	}
	if m == nil {
		if err == nil {
			err = fmt.Errorf("there is no ConfigMap %s/%s", c.o.Namespace, c.o.Name)
		}
		nobody := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.o.Namespace, Name: c.o.Name}}
		return c.holdOn(ctx, nobody, &fault{reason: MissingQueues, what: err.Error(), until: "there is one", err: err}, apply)
	}
	tree, warnings, bad := c.judge(m)
	if bad != nil {
		return c.holdOn(ctx, m, bad, apply)
	}
	return c.hold(m, tree, warnings, apply)
}

// judge reads the tree in a ConfigMap.
func (c *ConfigMap) judge(m *corev1.ConfigMap) (*spec.Tree, config.Problems, *fault) {
	invalid := func(err error) *fault {
		return &fault{reason: InvalidQueues, what: err.Error(), until: "it is mended", err: err}
	}
	text, err := queuesText(m, c.o.Key)
	if err != nil {
		bad := invalid(err)
		bad.none = errors.Is(err, errNoKey)
		return nil, nil, bad
	}
	f, none, problems := config.ParseOrDefault(c.o.Key, text)
	if none {
		return nil, nil, &fault{reason: InvalidQueues, what: c.o.Key + " is empty", until: "it is mended", none: true, err: fmt.Errorf("ConfigMap %s/%s: %s is empty", m.Namespace, m.Name, c.o.Key)}
	}
	if f == nil {
		bad := invalid(fmt.Errorf("ConfigMap %s/%s: %w", c.o.Namespace, c.o.Name, problems))
		bad.what, bad.lines = headline(problems), lines(problems)
		return nil, nil, bad
	}
	tree, err := partition(c.o.Key, f)
	if err != nil {
		return nil, nil, invalid(err)
	}
	return tree, problems, nil
}

// holdOn has the queues go on that were good last: those that hold, or, if this replica
// has seen none yet, those that were kept by the one that led.
func (c *ConfigMap) holdOn(ctx context.Context, m *corev1.ConfigMap, bad *fault, apply Apply) error {
	c.missing(bad.err)
	if c.tree() == nil {
		if err := c.recall(ctx, apply); err != nil {
			return fmt.Errorf("%w: %w", errUnknown, err)
		}
	}
	if c.tree() == nil && bad.none {
		if err := c.byDefault(apply); err != nil {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
	}
	holds := c.meanwhile(bad.until)
	if bad.none && c.defaulted {
		holds = "; " + config.DefaultUsed
	}
	c.tell(m, corev1.EventTypeWarning, bad.reason, objects.Lines(objects.MaxEvent, bad.what+holds, bad.lines))
	return bad.err
}

// meanwhile says what holds while the ConfigMap has no good queues.
func (c *ConfigMap) meanwhile(until string) string {
	switch {
	case c.tree() == nil:
		return "; nothing is scheduled until " + until
	case c.defaulted:
		return "; YuniKorn's default holds on until " + until
	case c.past != nil:
		return fmt.Sprintf("; the queues of %s hold on until %s", c.past.at, until)
	}
	return "; the queues before hold on"
}

// byDefault applies YuniKorn's default, as YuniKorn does where nothing is configured. That is
// for who begins: where queues hold already, a text that was emptied takes nobody's quota.
func (c *ConfigMap) byDefault(apply Apply) error {
	f, _, _ := config.ParseOrDefault(c.o.Key, nil)
	tree, err := partition(c.o.Key, f)
	if err == nil {
		err = c.take(tree, apply)
	}
	c.defaulted = err == nil
	return err
}

// recall applies what was kept, if there is something. The error says that it is not known.
func (c *ConfigMap) recall(ctx context.Context, apply Apply) error {
	g, err := c.memory.read(ctx, c.o.Namespace+"/"+c.o.Name, c.o.Key)
	if g == nil || err != nil {
		return err
	}
	m := &corev1.ConfigMap{}
	g.put(m)
	tree, _, bad := c.judge(m)
	if bad != nil { // by another version of Muster, perhaps
		c.memory.ignore(fmt.Errorf("the text of %s has errors: %w", g.at, bad.err))
		return nil
	}
	if err := c.take(tree, apply); err != nil {
		return err
	}
	c.past = g
	c.good.Store(g)
	return nil
}

func (c *ConfigMap) hold(m *corev1.ConfigMap, tree *spec.Tree, warnings config.Problems, apply Apply) error {
	if err := c.take(tree, apply); err != nil {
		c.tell(m, corev1.EventTypeWarning, QueuesRefused, err.Error()+c.meanwhile("no jobs are in the way"))
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	c.past, c.defaulted = nil, false
	c.remember(m)
	text := "these queues hold"
	if len(warnings) > 0 {
		text = objects.Lines(objects.MaxEvent, "these queues hold, with "+count(len(warnings), "warning"), lines(warnings))
	}
	c.tell(m, corev1.EventTypeNormal, QueuesApplied, text)
	return nil
}

// remember has the text kept that holds.
func (c *ConfigMap) remember(m *corev1.ConfigMap) {
	g := goodOf(m, c.o.Key)
	if was := c.good.Load(); was != nil && was.digest() == g.digest() {
		return
	}
	g.at = time.Unix(0, c.clock.Now()).UTC().Format(time.RFC3339)
	c.good.Store(g)
	select {
	case c.keep <- struct{}{}:
	default:
	}
}

// tell makes one event of what is new.
func (c *ConfigMap) tell(m *corev1.ConfigMap, kind, reason, text string) {
	text = objects.Cut(objects.MaxEvent, text)
	if now := reason + "\n" + text; now != c.told {
		c.told, c.warned = now, kind == corev1.EventTypeWarning
		c.o.Events.Event(objects.Reference(corev1.SchemeGroupVersion.WithKind("ConfigMap"), m), kind, reason, text)
	}
}

// errNoKey is that of a ConfigMap that says nothing of queues.
var errNoKey = errors.New("has no key")

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
		return nil, fmt.Errorf("ConfigMap %s/%s %w %s", m.Namespace, m.Name, errNoKey, key)
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
	return text
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
