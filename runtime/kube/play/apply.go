package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// admin is the access of the cluster's administrator, as fast as the API server is.
func (p play) admin() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", p.file("admin.kubeconfig"))
	if err == nil {
		config.QPS = -1
	}
	return config, err
}

// places counts for how many pods with eight GPUs the nodes have room.
func (p play) places(ctx context.Context) (n int, err error) {
	config, err := p.admin()
	if err != nil {
		return 0, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	nodes, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	for _, o := range nodes.Items {
		text, _, _ := unstructured.NestedString(o.Object, "status", "allocatable", "nvidia.com/gpu")
		gpus, _ := strconv.Atoi(text) // none is 0
		n += gpus / 8
	}
	return n, nil
}

// apply applies YAML documents from the server's side, all but those of some kinds.
func (p play) apply(ctx context.Context, text []byte, but ...string) error {
	config, err := p.admin()
	if err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(o); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(o.Object) == 0, slices.Contains(but, o.GetKind()):
			continue
		}
		if err := applyOne(ctx, client, mapper, o); err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
}

func applyOne(ctx context.Context, client dynamic.Interface, mapper meta.RESTMapper, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var to dynamic.ResourceInterface = client.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		to = client.Resource(m.Resource).Namespace(o.GetNamespace())
	}
	if o.GetName() == "" || kind.Kind == "Pod" { // a pod can't be applied again
		_, err = to.Create(ctx, o, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			err = nil
		}
		return err
	}
	_, err = to.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "play", Force: true})
	return err
}
