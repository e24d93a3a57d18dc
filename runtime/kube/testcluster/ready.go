package testcluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How often readiness is asked for, and how long a component may take on a machine
// that is busy with something else.
const (
	askEvery = 50 * time.Millisecond
	patience = 2 * time.Minute
)

// etcdReady asks etcd, which has no TLS.
func etcdReady(ctx context.Context, c *Cluster) error {
	return get(ctx, http.DefaultClient, c.etcdURL()+"/health")
}

// healthy asks the health page of a component, over TLS with the cluster's own
// certificate and without a token, as health is open to all.
func healthy(name, page string) func(context.Context, *Cluster) error {
	return func(ctx context.Context, c *Cluster) error {
		ca, err := os.ReadFile(c.path(fileCert))
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
		return get(ctx, &http.Client{Transport: t}, "https://"+address(c.Ports[name])+page)
	}
}

// get asks a page for status 200.
func get(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s: %.200s", url, response.Status, text)
	}
	return nil
}

// RESTConfig is the way in for a user, without the limit of 5 requests a second that
// clients have by default.
func (c *Cluster) RESTConfig(user string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig(user))
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return config, nil
}

// Client talks to the API server as admin.
func (c *Cluster) Client() (kubernetes.Interface, error) {
	config, err := c.RESTConfig(AdminUser)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// AllNodes asks WaitReady for all nodes that there are.
const AllNodes = -1

// WaitReady returns when the API server and the other components answer and at least
// so many nodes are Ready.
func (c *Cluster) WaitReady(ctx context.Context, nodes int) error {
	for _, name := range c.Components() {
		k, _ := find(name)
		if err := ask(ctx, func(ctx context.Context) error { return k.ready(ctx, c) }); err != nil {
			return &Error{Code: CodeNotReady, Where: name, Problem: "is not ready", Hint: "see " + c.Log(name), Err: err}
		}
	}
	client, err := c.Client()
	if err != nil {
		return err
	}
	err = ask(ctx, func(ctx context.Context) error {
		ready, all, err := readyNodes(ctx, client)
		want := nodes
		if nodes == AllNodes {
			want = all
		}
		if err == nil && ready < want {
			err = fmt.Errorf("%d of %d are", ready, want)
		}
		return err
	})
	if err != nil {
		return &Error{Code: CodeNotReady, Where: "nodes", Problem: "are not ready", Hint: "see " + c.Log(Kwok), Err: err}
	}
	return nil
}

// ask calls again and again until there is no error, and returns the last one if the
// context ends before.
func ask(ctx context.Context, call func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, askEvery, true, func(ctx context.Context) (bool, error) {
		if err := call(ctx); err != nil {
			if ctx.Err() == nil || last == nil {
				last = err
			}
			return false, nil
		}
		return true, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// readyNodes counts the nodes with condition Ready, and all.
func readyNodes(ctx context.Context, client kubernetes.Interface) (ready, all int, err error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, 0, err
	}
	for _, n := range list.Items {
		if slices.ContainsFunc(n.Status.Conditions, func(k corev1.NodeCondition) bool {
			return k.Type == corev1.NodeReady && k.Status == corev1.ConditionTrue
		}) {
			ready++
		}
	}
	return ready, len(list.Items), nil
}
