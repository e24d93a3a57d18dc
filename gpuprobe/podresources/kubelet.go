package podresources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// Socket is where a kubelet listens.
const Socket = "/var/lib/kubelet/pod-resources/kubelet.sock"

// Bounds of one answer. A node has a few hundred pods; a GPU, rarely, 48 replicas.
const (
	mostBytes       = 16 << 20 // as the kubelet's own clients have it
	mostAssignments = 1 << 16
)

// Error says why the kubelet could not be asked.
type Error struct {
	// Reason is stable: NoSocket, NotAllowed, Unavailable, Timeout, Disabled, Throttled,
	// TooLarge, Malformed, Failed.
	Reason string
	Hint   string // what to do, "" if there is nothing
	Err    error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("podresources: %s: %s", e.Reason, status.Convert(e.Err).Message()) // without gRPC's own words
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap returns what happened.
func (e *Error) Unwrap() error { return e.Err }

// Client asks one kubelet. It connects when it is first asked, and again when the kubelet
// restarted.
type Client struct {
	socket  string
	timeout time.Duration
	conn    *grpc.ClientConn
}

var _ Lister = (*Client)(nil)

// Kubelet returns a client for a kubelet's socket, which need not be there yet. A call
// takes no longer than the timeout.
func Kubelet(socket string, timeout time.Duration) (*Client, error) {
	again := backoff.DefaultConfig
	again.MaxDelay = 5 * time.Second // a kubelet that restarts is back soon, and near
	conn, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's rights protect it
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: timeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostBytes)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, &Error{"NoSocket", "the path of the kubelet's socket can't be one", err}
	}
	return &Client{socket, timeout, conn}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// List asks what is assigned now. What is no GPU is left out. Every error is an Error.
func (c *Client) List(ctx context.Context) ([]Assignment, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := v1.NewPodResourcesListerClient(c.conn).List(ctx, &v1.ListPodResourcesRequest{})
	if err != nil {
		return nil, c.why(err)
	}
	all, err := read(answer)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// why turns an error of gRPC into one that says what to do.
func (c *Client) why(err error) error {
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled:
		return &Error{"Timeout", "the kubelet is slow or hangs", err}
	case codes.Unimplemented:
		return &Error{"Disabled", "the kubelet does not serve pod resources v1 (Kubernetes 1.20 and later do)", err}
	case codes.ResourceExhausted:
		if s, ok := status.FromError(err); ok && s.Message() == throttled {
			return &Error{"Throttled", "others ask the kubelet too often", err}
		}
		return &Error{"TooLarge", "", err}
	case codes.Internal:
		return &Error{"Malformed", "", err}
	case codes.Unavailable:
		return c.unavailable(err)
	}
	return &Error{"Failed", "", err}
}

// throttled is what the kubelet says to more than 100 calls a second.
const throttled = "rejected by rate limit"

// unavailable looks at the socket itself, as gRPC tells all that can go wrong there in
// one code.
func (c *Client) unavailable(err error) error {
	_, stat := os.Stat(c.socket)
	switch {
	case errors.Is(stat, fs.ErrNotExist):
		return &Error{"NoSocket", "mount the folder of " + c.socket + " (not the file, which a restart replaces) into the probe", err}
	case errors.Is(stat, fs.ErrPermission):
		return &Error{"NotAllowed", "the socket is root's", err}
	}
	return &Error{"Unavailable", "is the kubelet running?", err}
}

// read takes the GPUs out of an answer, sorted, each once.
func read(answer *v1.ListPodResourcesResponse) ([]Assignment, error) {
	var all []Assignment
	add := func(of Assignment, device string, shared, ok bool) {
		if ok {
			of.Device, of.Shared = device, shared
			all = append(all, of)
		}
	}
	for _, pod := range answer.GetPodResources() {
		for _, box := range pod.GetContainers() {
			of := Assignment{Namespace: pod.GetNamespace(), Pod: pod.GetName(), Container: box.GetName()}
			for _, d := range box.GetDevices() {
				of.Resource = d.GetResourceName()
				for _, id := range d.GetDeviceIds() {
					device, shared, ok := Device(of.Resource, id)
					add(of, device, shared, ok)
				}
			}
			for _, claim := range box.GetDynamicResources() {
				for _, r := range claim.GetClaimResources() {
					of.Resource = r.GetDriverName()
					device, shared, ok := Claimed(of.Resource, r.GetPoolName(), r.GetDeviceName(), r.GetShareId())
					add(of, device, shared, ok)
				}
			}
		}
		if len(all) > mostAssignments {
			return nil, &Error{"TooLarge", "", fmt.Errorf("more than %d devices are assigned", mostAssignments)}
		}
	}
	slices.SortFunc(all, compare)
	return slices.Compact(all), nil
}

// compare orders assignments, so that the same answer is the same list.
func compare(a, b Assignment) int {
	shared := func(a Assignment) int {
		if a.Shared {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container),
		cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Device, b.Device), cmp.Compare(shared(a), shared(b)),
	)
}
