package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// packed marks a module that is packed by gzip, since a ConfigMap holds 1 MiB.
const packed = ".gz"

// fetchConfigMap reads a module, a bundle or rules from NAMESPACE/NAME or
// NAMESPACE/NAME/KEY. Digest and signatures are of what is unpacked.
func fetchConfigMap(ctx context.Context, at string, opt Options) (*Artifact, error) {
	parts := strings.SplitN(at, "/", 3)
	if opt.ConfigMap == nil || len(parts) < 2 {
		return nil, reason.New(reason.NotFound, "configmap:"+at, "ConfigMaps are for Policy objects in a cluster", "no ConfigMap can be read here")
	}
	keys, err := opt.ConfigMap(ctx, parts[0], parts[1])
	if err != nil {
		return nil, err
	}
	if len(parts) == 3 {
		return fromKey(keys, at, parts[2])
	}
	modules := slices.DeleteFunc(slices.Sorted(maps.Keys(keys)), func(k string) bool {
		return path.Ext(strings.TrimSuffix(k, packed)) != ".wasm"
	})
	switch len(modules) {
	case 0:
		return rulesOf(keys, at)
	case 1:
		return fromKey(keys, at+"/"+modules[0], modules[0])
	}
	return nil, reason.New(reason.Ambiguous, "configmap:"+at, "name one as the key of the source", "modules under the keys %s", strings.Join(modules, ", "))
}

// fromKey takes the module or bundle of one key, with the signatures of KEY.sig.
func fromKey(keys map[string][]byte, at, key string) (*Artifact, error) {
	b, ok := keys[key]
	if !ok {
		return nil, &reason.Error{Code: reason.NotFound, Where: "configmap:" + at, Problem: "there is no such key", Hint: "its keys are " + strings.Join(slices.Sorted(maps.Keys(keys)), ", "), Again: true}
	}
	if strings.HasSuffix(key, ".wasm"+packed) {
		var err error
		if b, err = unpack(b); err != nil {
			return nil, reason.New(reason.NotAPolicy, "configmap:"+at, "gzip -9 X.wasm, and kubectl create configmap --from-file", "it can't be unpacked: %v", err)
		}
		if len(b) > MaxModule {
			return nil, reason.New(reason.TooLarge, "configmap:"+at, "leave debug information out: -ldflags='-s -w'", "unpacked it has more than %d bytes", MaxModule)
		}
	}
	a := &Artifact{Content: trust.Digest(b), Origin: "configmap:" + at}
	if bytes.HasPrefix(b, gzipMagic) {
		a.Bundle = b
	} else {
		a.Module = b
	}
	return a, a.signedBy(keys[strings.TrimSuffix(key, packed)+trust.Extension])
}

func unpack(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, MaxModule+1))
}

// signedBy takes in the text of a .sig, which may be absent.
func (a *Artifact) signedBy(text []byte) error {
	a.Signed = a.Content
	if len(text) == 0 {
		return nil
	}
	digest, sigs, err := trust.ParseFile(text)
	if err != nil {
		return &reason.Error{Code: reason.Unsigned, Where: a.Origin + trust.Extension, Problem: err.Error(), Hint: "sign again by muster policy sign", Again: true, Err: err}
	}
	if digest == a.Signed {
		a.Signatures = sigs
	}
	return nil
}

// rulesOf takes all keys that rules are made of.
func rulesOf(keys map[string][]byte, at string) (*Artifact, error) {
	files := maps.Clone(keys)
	maps.DeleteFunc(files, func(k string, _ []byte) bool {
		return !slices.Contains([]string{".rego", ".json", ".yaml", ".yml"}, path.Ext(k))
	})
	if !slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(k string) bool { return path.Ext(k) == ".rego" }) {
		return nil, &reason.Error{Code: reason.EmptyFolder, Where: "configmap:" + at, Problem: "neither a .wasm nor a .rego among its keys", Hint: "name the key of the source, or add one", Again: true}
	}
	a := &Artifact{Files: files, Content: treeDigest(files), Origin: "configmap:" + at}
	return a, a.signedBy(keys["rules"+trust.Extension])
}

// inline makes rules of one text.
func inline(s wanted.Source) *Artifact {
	files := map[string][]byte{"policy.rego": []byte(s.Text)}
	digest := treeDigest(files)
	return &Artifact{Files: files, Content: digest, Signed: digest, Origin: "inline:" + s.At}
}
