// Package kubetest gives a test a Kubernetes cluster of its own: a real control plane
// on loopback with nodes that kwok plays, up in 3 to 5 seconds, with no container
// engine and no rights.
//
//	c := kubetest.Start(t, kubetest.Options{Nodes: 100, Products: "H100=60,A100=40"})
//	pods := c.Client.CoreV1().Pods("default")
//	…
//	muster := c.ConfigFor("muster/muster") // with the rights of a service account
//	c.Restart(kubetest.APIServer)          // what production does to us
//
// The cluster ends with the test, also if the test's process is killed. If the test
// fails, the ends of the components' logs are in its output. See package testcluster,
// in a module of its own, for what the cluster can do, and for the annotations by which
// a pod says how long it runs.
//
// The control plane is one binary, which is built on first use: 5 minutes on two cores.
// `make .cache/bin/muster-cluster` does so beforehand. Where it can't be built, for lack
// of a network, and with -short, tests are skipped; but with CI=true they fail, so that
// a green run means that they ran.
package kubetest
