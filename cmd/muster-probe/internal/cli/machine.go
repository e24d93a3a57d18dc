package cli

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/musterhq/muster/cmd/muster-probe/internal/node"
	"github.com/musterhq/muster/gpuprobe/podresources"
)

// machineFlags are those of all commands that look at the machine.
func machineFlags(fl *pflag.FlagSet, o *node.Options) {
	fl.StringVar(&o.NVML, "nvml", "", "`FILE` of the driver's libnvidia-ml.so.1 (default: it is looked for)")
	fl.StringVar(&o.HostRoot, "host-root", "", "`DIR` in which the host's files are mounted (default: ours are the host's)")
	fl.StringVar(&o.KubeletSocket, "kubelet-socket", podresources.Socket, "`SOCKET` of the kubelet's pod-resources API, empty for none")
	fl.BoolVar(&o.EBPF, "ebpf", true, "watch launches by eBPF, where the kernel allows it")
}

const usualInterval = 5 * time.Second
