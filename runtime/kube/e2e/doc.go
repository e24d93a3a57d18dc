// Package e2e holds Muster on Kubernetes to its promises: its tests run the real binary,
// with the rights of deploy/manifests, against a real API server, and judge it by what
// that API server says (package observe).
//
//	go test ./runtime/kube/e2e                      # stories, a few minutes
//	go test ./runtime/kube/e2e -run Figures -timeout 60m -figures figures.md
//
// The second measures at full size, beside the stock scheduler and beside binding without
// any decision, and writes a table. docs/benchmarks.md has one such run.
package e2e
