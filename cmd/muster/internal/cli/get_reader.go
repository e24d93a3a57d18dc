package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/output"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/client"
)

// readerFlags say which running scheduler is asked, and in which form its answer is
// printed.
type readerFlags struct {
	client.Options
	tokenFile string
	format    string
}

const readerExits = "0 it was told, 1 it failed or there is no such thing, 2 it was called wrongly, 130 it was interrupted"

func (f *readerFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.Server, "server", os.Getenv("MUSTER_SERVER"), "`URL` of the scheduler (default: MUSTER_SERVER, or http://"+serve.DefaultAddress+")")
	fl.StringVar(&f.tokenFile, "token-file", os.Getenv("MUSTER_TOKEN_FILE"), "`FILE` with a bearer token, as from `kubectl create token`; MUSTER_TOKEN has the token itself")
	fl.StringVar(&f.CAFile, "ca", os.Getenv("MUSTER_CA"), "`FILE` of the certificates that the server's must be signed by")
	fl.BoolVar(&f.Insecure, "insecure", false, "take any certificate")
}

func (f *readerFlags) addFormat(c *cobra.Command) {
	c.Flags().StringVarP(&f.format, "output", "o", "text", "`FORMAT` of the answer: text, wide, json or yaml")
}

func (f *readerFlags) checkFormat() error {
	switch f.format {
	case "text", "wide", "json", "yaml":
		return nil
	}
	return misused("formats are text, wide, json and yaml", "unknown output format %q", f.format)
}

// open makes the client.
func (f *readerFlags) open() (*client.Client, error) {
	f.Token = os.Getenv("MUSTER_TOKEN")
	if f.tokenFile != "" {
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, failed("`kubectl create token NAME > FILE` writes one", "cannot read the token: %w", pathFirst(err))
		}
		f.Token = strings.TrimSpace(string(text))
	}
	c, err := client.New(f.Options)
	if err != nil {
		return nil, misused("as in --server https://muster.example:9070 --ca ca.pem", "%w", pathFirst(err))
	}
	return c, nil
}

// readFrom reads one path into a value.
func readFrom(ctx context.Context, c *client.Client, path string, q url.Values, into any) (client.Meta, error) {
	m, err := c.Get(ctx, path, q, into)
	var gone *client.Unreachable
	var told *serve.Error
	switch {
	case errors.As(err, &gone):
		return m, failed("start it with `muster scheduler`, forward its port (`kubectl port-forward -n muster-system svc/muster 9070`), or name it with --server or MUSTER_SERVER", "%w", err)
	case errors.As(err, &told):
		return m, failed(commandHint(told), "%w", err)
	}
	return m, err
}

// apiPath finds what the API's hints tell those who ask it themselves.
var apiPath = regexp.MustCompile("GET " + serve.Prefix + `/([a-z]+)`)

// commandHint is a hint of the API with commands in place of paths.
func commandHint(e *serve.Error) string {
	if e.Code == "not-found" {
		return "the scheduler has no such path; is it older than this muster? `muster doctor` compares them"
	}
	return strings.ReplaceAll(apiPath.ReplaceAllString(e.Hint, "`muster get $1`"), "/readyz tells", "`muster doctor` tells why")
}

// printRead prints what was read: as it came in JSON and YAML, else by text.
func (a *app) printRead(format string, raw json.RawMessage, text func() error) error {
	switch format {
	case "json":
		return output.JSON(a.out, raw)
	case "yaml":
		return output.YAML(a.out, raw)
	default:
		return text()
	}
}

// stale warns about a picture that is old.
func (a *app) stale(m client.Meta) {
	if m.Stale {
		a.remark("the scheduler is busy; this is its picture of %s", m.At.UTC().Format("15:04:05Z"))
	}
}
