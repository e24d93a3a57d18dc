package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// LastGoodName is the ConfigMap in Muster's own namespace that has the text of the queues
// that was good last. The replica that leads writes it; each one that starts and finds no
// queues without errors goes on with it.
const LastGoodName = "muster-queues-last-good"

// LastGoodLabel marks it as Muster's own.
const LastGoodLabel = "muster.dev/last-good"

// Annotations of it.
const (
	lastGoodSource  = "muster.dev/source"         // NAMESPACE/NAME of the ConfigMap that had the text
	lastGoodVersion = "muster.dev/source-version" // its resourceVersion
	lastGoodDigest  = "muster.dev/digest"         // sha256:HEX of the text
	lastGoodTime    = "muster.dev/applied-at"     // RFC 3339
)

// maxLastGood is how many bytes of text are kept: the API server takes objects of 1 MiB.
const maxLastGood = 900 << 10

// Keeper is a source that keeps what was good for whoever leads next.
type Keeper interface {
	// Keep keeps the queues that hold, and all that come after them, until ctx ends. Only
	// the replica that leads may call it.
	Keep(ctx context.Context)
}

// good is a text of queues that held.
type good struct {
	from, version string // the ConfigMap that had it, NAMESPACE/NAME
	at            string // when it was applied, RFC 3339
	key           string // of the text there
	text          []byte // as it was there: what was packed stays packed
	binary        bool   // it was among the binary data
}

// goodOf is the text that a ConfigMap has under a key, where queuesText finds it.
func goodOf(m *corev1.ConfigMap, key string) *good {
	g := &good{from: m.Namespace + "/" + m.Name, version: m.ResourceVersion, key: key}
	if text, ok := m.Data[key]; ok {
		g.text = []byte(text)
		return g
	}
	if g.binary = true; m.BinaryData[key] == nil {
		g.key += ".gz"
	}
	g.text = m.BinaryData[g.key]
	return g
}

// digest tells texts apart, and ours from one that somebody has edited.
func (g *good) digest() string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(append([]byte(g.key+"\n"), g.text...)))
}

// put makes a ConfigMap one that keeps the text.
func (g *good) put(m *corev1.ConfigMap) {
	metav1.SetMetaDataLabel(&m.ObjectMeta, LastGoodLabel, "true")
	for key, value := range map[string]string{
		lastGoodSource: g.from, lastGoodVersion: g.version, lastGoodDigest: g.digest(), lastGoodTime: g.at,
	} {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, key, value)
	}
	m.Data, m.BinaryData = nil, nil
	if g.binary {
		m.BinaryData = map[string][]byte{g.key: g.text}
	} else {
		m.Data = map[string]string{g.key: string(g.text)}
	}
}

// taken reads what put has written; the error says why it is no such thing.
func taken(m *corev1.ConfigMap, key string) (*good, error) {
	if m.Labels[LastGoodLabel] == "" {
		return nil, fmt.Errorf("it has no label %s: it is not Muster's", LastGoodLabel)
	}
	g := goodOf(m, key)
	g.from, g.version, g.at = m.Annotations[lastGoodSource], m.Annotations[lastGoodVersion], m.Annotations[lastGoodTime]
	if g.digest() != m.Annotations[lastGoodDigest] {
		return nil, errors.New("it is not as Muster has written it")
	}
	return g, nil
}

// memory is where the text is kept that was good last.
type memory struct {
	client    kubernetes.Interface
	namespace string // Muster's own; "" keeps nothing
	log       *slog.Logger
	said      string // the last complaint, which is made once
}

// callTime is how long the API server may take for an answer.
const callTime = 10 * time.Second

// read returns what was kept of a ConfigMap, nil if nothing was that is of use. The error
// says that it is not known; it is to be asked again.
func (k *memory) read(ctx context.Context, from, key string) (*good, error) {
	if k.namespace == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	m, err := k.client.CoreV1().ConfigMaps(k.namespace).Get(ctx, LastGoodName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case apierrors.IsForbidden(err):
		k.ignore(err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("the queues that were good last, in ConfigMap %s/%s, can't be read: %w", k.namespace, LastGoodName, err)
	}
	g, err := taken(m, key)
	if err == nil && g.from != from {
		err = fmt.Errorf("it was kept of ConfigMap %s", g.from)
	}
	if err != nil {
		k.ignore(err)
		return nil, nil
	}
	return g, nil
}

// ignore tells once why what was kept is of no use.
func (k *memory) ignore(err error) {
	if err.Error() != k.said {
		k.said = err.Error()
		k.log.Warn("the queues that were good last are not used", "configmap", k.namespace+"/"+LastGoodName, "error", err)
	}
}

// errNotKept is final: to try again would not help.
var errNotKept = errors.New("not kept")

// write keeps a text, unless that is kept already.
func (k *memory) write(ctx context.Context, g *good, key string) error {
	if n := len(g.text); n > maxLastGood {
		return fmt.Errorf("%w: the text has %d bytes, and at most %d are kept; a packed KEY.gz is shorter", errNotKept, n, maxLastGood)
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	at := k.client.CoreV1().ConfigMaps(k.namespace)
	m, err := at.Get(ctx, LastGoodName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		m = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: LastGoodName}}
		g.put(m)
		_, err = at.Create(ctx, m, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if m.Labels[LastGoodLabel] == "" {
		return fmt.Errorf("%w: there is a ConfigMap %s/%s that has no label %s; give it another name", errNotKept, k.namespace, LastGoodName, LastGoodLabel)
	}
	if had, err := taken(m, key); err == nil && had.from == g.from && had.digest() == g.digest() {
		return nil
	}
	m = m.DeepCopy()
	g.put(m)
	_, err = at.Update(ctx, m, metav1.UpdateOptions{}) // of this version: another leader may have written
	return err
}

// Keep keeps the text that holds for whoever leads next, and each one that comes after it,
// until ctx ends. Only the replica that leads may call it. What is wrong is told anew: this
// replica was silent while another one led.
func (c *ConfigMap) Keep(ctx context.Context) {
	c.anew.Store(true)
	c.wake()
	if c.memory.namespace == "" {
		return
	}
	var kept *good
	for ctx.Err() == nil {
		var again time.Duration
		if g := c.good.Load(); g != nil && g != kept {
			err := c.memory.write(ctx, g, c.o.Key)
			switch {
			case err == nil || errors.Is(err, errNotKept):
				kept = g
			default:
				again = retryAfter
			}
			if err != nil && ctx.Err() == nil {
				c.o.Log.Warn("the queues that hold are not kept: who leads next can't go on with them if their text has errors by then",
					"configmap", c.memory.namespace+"/"+LastGoodName, "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-c.keep:
		case <-c.alarm(again):
		}
	}
}
