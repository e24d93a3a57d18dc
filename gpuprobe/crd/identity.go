package crd

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// DefaultAccount is the service account of probes, namespace:name, that admission.yaml
// is about as it stands.
const DefaultAccount = "muster-system:muster-probe"

//go:embed admission.yaml
var admission string

// Admission is the ValidatingAdmissionPolicy, with its binding, by which the probes of an
// account ("namespace:name") write the GPUNodes of their own nodes only, as YAML.
func Admission(account string) string {
	return strings.ReplaceAll(admission, DefaultAccount, account)
}

// NodeOf tells the node that the token of a service account is bound to: its name and
// UID, "" where the token does not say (before Kubernetes 1.30). It only reads what the
// token says of itself; whether that is true is for those to check whom it is shown to.
func NodeOf(token string) (name string, uid types.UID) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return "", ""
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", ""
	}
	type node struct{ Name, UID string }
	var claims struct {
		Kubernetes struct {
			Node node `json:"node"`
		} `json:"kubernetes.io"`
	}
	if json.Unmarshal(body, &claims) != nil {
		return "", ""
	}
	return claims.Kubernetes.Node.Name, types.UID(claims.Kubernetes.Node.UID)
}

// Connect returns a client for the cluster of a kubeconfig file, or, if that is "", for
// the one that this process runs in.
func Connect(kubeconfig string) (dynamic.Interface, error) {
	load := rest.InClusterConfig
	if kubeconfig != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	config, err := load()
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // the writer itself asks for little
	return dynamic.NewForConfig(rest.AddUserAgent(config, manager))
}
