package testcluster

import (
	"fmt"
	"os"
	"strings"

	"github.com/musterhq/muster/runtime/kube/testcluster/nodes"
	"github.com/musterhq/muster/runtime/kube/testcluster/process"
)

// Options is what one can ask of a cluster. The zero value is not a good one; begin
// with Defaults.
type Options struct {
	// Nodes is how many nodes there are, in the mix of Products; 0 with Products
	// takes the mix's weights as numbers. NodesFile, if not empty, says it all.
	Nodes     int    `json:"nodes"`
	Products  string `json:"products,omitempty"`
	NodesFile string `json:"nodesFile,omitempty"`

	// Jobs starts the controller manager: Jobs, Deployments, garbage collection,
	// namespaces that end, service accounts.
	Jobs bool `json:"jobs"`
	// Baseline starts the stock scheduler, to be compared with.
	Baseline bool `json:"baseline"`
	// NoKwok leaves out the kubelets: nodes never become Ready, pods never run.
	NoKwok bool `json:"noKwok"`
	// NativeGangs serves Workload and PodGroup of scheduling.k8s.io/v1alpha2, which
	// are alpha in Kubernetes 1.36 and off by default (KEP-4671).
	NativeGangs bool `json:"nativeGangs"`
	// FeatureGates and RuntimeConfig are added to the flags of the same names.
	FeatureGates  string `json:"featureGates,omitempty"`
	RuntimeConfig string `json:"runtimeConfig,omitempty"`

	// LeaseSeconds is how long a node's lease lasts; a quarter of it is the pace of
	// its renewal, which at 40 s and 5,000 nodes keeps most of a core busy. 0 is no
	// leases: nothing reads them here.
	LeaseSeconds int `json:"leaseSeconds"`
	// GOGC of the components. 400 gives a quarter more binds a second than 100, for
	// twice the memory.
	GOGC int `json:"gogc"`
	// Flags are further flags, each with the component that they are for:
	// "kube-apiserver=--max-mutating-requests-inflight=5".
	Flags []string `json:"flags,omitempty"`
	// Parent, if not 0, is a process whose end, however it comes, ends the cluster
	// and removes its state.
	Parent int `json:"parent,omitempty"`
}

// Defaults are the options of a cluster that nothing was said about.
func Defaults() Options {
	return Options{GOGC: 400}
}

// groups returns the nodes to make.
func (o Options) groups() ([]nodes.Group, error) {
	if o.NodesFile != "" {
		if o.Products != "" || o.Nodes != 0 {
			return nil, badOption("nodes-file", "it says how many nodes of what kind there are, so --nodes and --products can't", nil)
		}
		text, err := os.ReadFile(o.NodesFile)
		if err != nil {
			return nil, badOption("nodes-file", "can't be read", err)
		}
		groups, err := nodes.ParseFile(text)
		if err != nil {
			return nil, badOption("nodes-file", "is wrong", err)
		}
		return groups, nil
	}
	products := o.Products
	if products == "" {
		if o.Nodes == 0 {
			return nil, nil
		}
		products = nodes.DefaultMix
	}
	mix, err := nodes.ParseMix(products)
	if err != nil {
		return nil, badOption("products", "is wrong", err)
	}
	return nodes.Apportion(o.Nodes, mix), nil
}

// validate finds what can be found before anything is started.
func (o Options) validate() error {
	for _, n := range []struct {
		name  string
		value int
	}{{"nodes", o.Nodes}, {"lease-seconds", o.LeaseSeconds}, {"with-parent", o.Parent}, {"gogc", o.GOGC}} {
		if n.value < 0 {
			return badOption(n.name, fmt.Sprintf("%d is below 0", n.value), nil)
		}
	}
	for _, f := range o.Flags {
		name, flag, ok := strings.Cut(f, "=")
		if _, known := find(name); !ok || !known || !strings.HasPrefix(flag, "-") {
			return badOption("flag", fmt.Sprintf("%q is not like kube-apiserver=--v=4", f), nil)
		}
	}
	_, err := o.groups()
	return err
}

// parent finds the process to follow.
func (o Options) parent() (process.ID, error) {
	if o.Parent == 0 {
		return process.ID{}, nil
	}
	id, err := process.Find(o.Parent)
	if err != nil {
		return id, badOption("with-parent", "there is no such process", err)
	}
	return id, nil
}

func badOption(name, problem string, err error) error {
	return &Error{Code: CodeOption, Where: "--" + name, Problem: problem, Err: err}
}
