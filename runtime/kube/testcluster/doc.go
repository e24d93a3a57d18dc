// Package testcluster runs a real Kubernetes control plane on one machine, without
// containers, root or a network: etcd, kube-apiserver and, if asked,
// kube-controller-manager and kube-scheduler, as processes on loopback ports, with
// kwok to play the kubelets of as many nodes as one likes. It is for tests and
// demonstrations: data is not synced to disk and every token lies in a file.
//
// All five programs are in one binary, muster-cluster, built from Go modules by
// tools/cluster.sh. The first build compiles 2,700 packages and takes minutes; it is
// kept in .cache/bin under a hash of what it was made from. This is a Go module of its
// own because k8s.io/kubernetes pins the version of every other k8s.io module, and so
// that the scheduler's module stays free of it.
//
//	muster-cluster up --dir STATE --nodes 100    # prints: export KUBECONFIG=…
//	muster-cluster status --dir STATE
//	muster-cluster kubeconfig --dir STATE --service-account muster/muster --out FILE
//	muster-cluster restart --dir STATE kube-apiserver
//	muster-cluster pause --dir STATE etcd        # and resume: a slow etcd
//	muster-cluster down --dir STATE
//
// # What is in the state folder
//
//	cluster.json        what was asked for, and the ports
//	*.kubeconfig        admin (group system:masters) and one for each component
//	pki/                the key of service accounts, the serving certificate
//	tokens.csv          the static tokens behind the kubeconfigs
//	run/*.pid           who runs, see package process
//	logs/*.log          what they say
//	etcd/               the data
//
// # What differs from a cluster in production
//
// Without Jobs there is no controller manager: nothing is garbage collected, a deleted
// namespace stays Terminating, and pods need no service account. Even with it the node
// lifecycle controller is off, so a node is as ready as kwok, or a test, says it is.
// API priority and fairness is off and limits are high, as load comes from one client.
// There is no cluster network and no DNS.
package testcluster
