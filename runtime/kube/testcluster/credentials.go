package testcluster

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
)

// host is where everything listens.
const host = "127.0.0.1"

// AdminUser may do everything.
const AdminUser = "admin"

// users have a token and a kubeconfig each. The controller manager acts in its own
// name instead of a service account per controller, so it needs all rights; those of
// the scheduler come with every API server.
var users = []struct{ file, name, group string }{
	{AdminUser, "admin", "system:masters"},
	{ControllerManager, "system:kube-controller-manager", "system:masters"},
	{Scheduler, "system:kube-scheduler", ""},
	{Kwok, "kwok", "system:masters"},
}

// Files of the state that components are told of.
const (
	fileTokens  = "tokens.csv"
	fileCert    = "pki/serving.crt"
	fileCertKey = "pki/serving.key"
	fileSAKey   = "pki/service-accounts.key"
	fileSAPub   = "pki/service-accounts.pub"
	fileKwok    = "kwok.yaml"
)

// writeCredentials makes the serving certificate, the key of service accounts, and the
// users with their kubeconfigs. The ports must be known.
func (c *Cluster) writeCredentials() error {
	if err := c.writeCertificate(); err != nil {
		return err
	}
	if err := c.writeServiceAccountKey(); err != nil {
		return err
	}
	var tokens strings.Builder
	for i, u := range users {
		token := rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,%d,%q\n", token, u.name, i+1, u.group)
		config, err := c.kubeconfig(u.name, token)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.Kubeconfig(u.file), config, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(c.path(fileTokens), []byte(tokens.String()), 0o600)
}

// writeCertificate makes the one certificate that all components serve with. The file
// holds its issuer as well, so clients verify TLS by trusting the file.
func (c *Cluster) writeCertificate() error {
	crt, key, err := cert.GenerateSelfSignedCertKey(host, []net.IP{net.IPv6loopback}, []string{"localhost", "kubernetes.default.svc"})
	if err != nil {
		return fmt.Errorf("making the serving certificate: %w", err)
	}
	if err := os.WriteFile(c.path(fileCert), crt, 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.path(fileCertKey), key, 0o600)
}

func (c *Cluster) writeServiceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		file, kind string
		der        []byte
	}{
		{fileSAKey, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)},
		{fileSAPub, "PUBLIC KEY", public},
	} {
		text := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})
		if err := os.WriteFile(c.path(f.file), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfig is the text of a file by which the holder of a token gets in.
func (c *Cluster) kubeconfig(user, token string) ([]byte, error) {
	ca, err := os.ReadFile(c.path(fileCert))
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["muster"] = &clientcmdapi.Cluster{
		Server:                   c.URL(),
		CertificateAuthorityData: ca,
	}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["muster"] = &clientcmdapi.Context{Cluster: "muster", AuthInfo: user}
	config.CurrentContext = "muster"
	return clientcmd.Write(*config)
}

// URL is where the API server listens.
func (c *Cluster) URL() string { return "https://" + address(c.Ports[APIServer]) }
