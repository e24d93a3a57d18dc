package testcluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// Names of ports, beside those of the components.
const portEtcdPeer = "etcd-peer"

// The range that ports are taken from when the kernel's is not known. Ports that the
// kernel hands to outgoing connections are avoided: one of those could take a
// component's port while the component is stopped.
const (
	lowestPort  = 10_000
	highestPort = 32_000
)

// pickPorts finds a free port for each name. Another process may take one before the
// component does; Up then tries again with others.
func pickPorts(names []string) (map[string]int, error) {
	low, high := portRange()
	ports := map[string]int{}
	var taken []net.Listener
	defer func() {
		for _, l := range taken {
			_ = l.Close()
		}
	}()
	for range 100 * len(names) {
		if len(ports) == len(names) {
			break
		}
		port := low + rand.IntN(high-low)
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		taken = append(taken, l) // until all are found, so that none is found twice
		ports[names[len(ports)]] = port
	}
	if len(ports) < len(names) {
		return nil, &Error{Code: CodePort, Where: "loopback", Problem: fmt.Sprintf("no free port was found between %d and %d", low, high)}
	}
	return ports, nil
}

func address(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// portRange is the widest range below or above the kernel's own.
func portRange() (low, high int) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	var first, last int
	if _, scanErr := fmt.Sscan(string(text), &first, &last); err != nil || scanErr != nil {
		return lowestPort, highestPort
	}
	switch {
	case first-lowestPort >= 1000:
		return lowestPort, first
	case 65_535-last >= 1000:
		return last + 1, 65_535
	}
	return lowestPort, highestPort
}
